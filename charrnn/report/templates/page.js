const text = document.querySelector(".shaded"), spoken = document.querySelector(".spoken");
let here = null;

function go(to) {
  here?.classList.remove("here");
  here = to;
  here?.classList.add("here");
  here?.scrollIntoView({ block: "nearest" });
  spoken.textContent = here?.dataset.note ?? "";
}

text?.addEventListener("click", (event) => go(event.target.closest("[data-note]")));
text?.addEventListener("blur", () => go(null));
text?.addEventListener("keydown", (event) => {
  const to = {
    ArrowRight: here ? here.nextElementSibling : text.firstElementChild,
    ArrowLeft: here?.previousElementSibling,
    Home: text.firstElementChild,
    End: text.lastElementChild,
  }[event.key];
  if (event.key === "Escape") go(null);
  if (!to) return;
  event.preventDefault();
  go(to);
});

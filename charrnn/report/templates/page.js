const spoken = document.querySelector(".spoken");
let here = null;

function go(to) {
  here?.classList.remove("here");
  here = to;
  here?.classList.add("here");
  here?.scrollIntoView({ block: "nearest" });
  spoken.textContent = here?.dataset.note.replace(/[\u2580-\u259f]+ */g, "") ?? "";
}

for (const text of document.querySelectorAll(".read")) {
  text.addEventListener("click", (event) => go(event.target.closest("[data-note]")));
  text.addEventListener("blur", () => go(null));
  text.addEventListener("keydown", (event) => {
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
}

// The values of all cells lie one cell after another, in 127ths, a signed byte each.
const cells = document.querySelector(".browse select"), browsed = document.querySelectorAll(".browse span");
const values = cells && Int8Array.from(atob(cells.dataset.values), (byte) => byte.charCodeAt(0));

cells?.addEventListener("input", () => {
  const { mean, deviation } = cells.selectedOptions[0].dataset;
  browsed.forEach((span, index) => {
    const value = values[cells.selectedIndex * browsed.length + index] / 127;
    const shade = Math.max(-4, Math.min(4, Math.round((2 * (value - mean)) / deviation)));
    span.className = (shade > 0 ? "p" : "n") + Math.abs(shade);
    span.dataset.note = (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(2);
  });
});

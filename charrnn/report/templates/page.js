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

// A sentence of one's own, which the model of lstm.js reads as the beginning of a line.
document.querySelector("#own")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = event.target.elements.sentence.value, file = JSON.parse(event.target.dataset.model);
  const said = document.querySelector("#said"), shown = document.querySelector(".own");
  const vocabulary = new Vocabulary(file), lstm = new CharLSTM(file), missing = vocabulary.missing(text);
  go(null);
  shown.hidden = missing.length > 0 && !vocabulary.hasUnknown;
  if (shown.hidden) return void (said.textContent = `The model has never read ${missing.join(" ")}: write without.`);
  let logits = lstm.step(vocabulary.start()), sum = 0;
  const spans = vocabulary.encode(text).map((token) => {
    const chances = probabilities(logits), bits = -Math.log2(chances[token]), span = document.createElement("span");
    const share = (chance) => `${(100 * chance).toFixed(1)}%`;
    const bar = (chance) => "\u2588".repeat(Math.round(12 * chance)).padEnd(12);
    const best = likeliest(chances, 5).map((each) => `${share(chances[each]).padStart(6)} ${bar(chances[each])} ${vocabulary.named(each)}`);
    span.className = `s${Math.min(8, Math.round(bits))}`;
    span.textContent = vocabulary.shown(token);
    span.dataset.note = [`${vocabulary.named(token)} had ${share(chances[token])}, ${bits.toFixed(1)} bits`, ...best].join("\n");
    logits = lstm.step(token);
    sum += bits;
    return span;
  });
  shown.replaceChildren(...spans);
  said.textContent = `${(sum / spans.length).toFixed(2)} bits a character. Point at a character, tap it, or use the arrow keys.`;
});

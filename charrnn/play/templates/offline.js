// The page: it writes with the model of lstm.js, and shows of each character how likely it was and what else was.
const PATIENCE = 50; // milliseconds of work between two looks at the page
const PACE = 90; // milliseconds between two characters, written slowly
const CALM = 500; // milliseconds between two changes of the text, for whoever asked for less motion
const BEST = 5;

const at = (id) => document.getElementById(id);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const file = JSON.parse(at("model").textContent);
const vocabulary = new Vocabulary(file), lstm = new CharLSTM(file);
const SPOKEN = { " ": "space", "\n": "new line", "\t": "tab" };

let beginning = ""; // as it was typed
let tokens = []; // the beginning, and what has been written so far
let thoughts = []; // of each character that was written: how likely it was, which were the likeliest, and its element
let read = 0; // how many of the tokens the model has read
let logits = null; // what it expects next
let turn = 0; // counts what was begun: what is no longer wanted sees that its number is not the last one
let waiting = []; // elements that are not shown yet
let chosen = null; // the thought that is looked at

function begin() {
  const typed = at("beginning").value, missing = vocabulary.missing(typed);
  const refused = missing.length > 0 && !vocabulary.hasUnknown;
  at("beginning").setAttribute("aria-invalid", refused);
  if (refused) {
    say(`The network has never read ${listed(missing)}: begin without.`, true);
    return;
  }
  beginning = typed;
  tokens = beginning ? vocabulary.encode(beginning) : [vocabulary.start()];
  thoughts = [];
  waiting = [];
  choose(null);
  startAgain();
  at("text").replaceChildren(Object.assign(document.createElement("b"), { textContent: beginning }));
  at("write").textContent = "Again";
  write(missing.length ? `The network has never read ${listed(missing)}: it reads an unknown character there. ` : "");
}

function startAgain() {
  lstm.reset();
  read = 0;
}

// Writes on until there are so many characters more, or until it is not wanted any more.
async function write(note = "") {
  const mine = ++turn, end = tokens.length + file.length;
  say(`${note}Writing …`);
  let started = performance.now(), first = tokens.length, shown = 0;
  while (turn === mine && tokens.length < end) {
    const slowly = at("slowly").checked, until = performance.now() + PATIENCE;
    let drawn = 0;
    do {
      if (read < tokens.length) logits = lstm.step(tokens[read++]);
      else if (logits.every(Number.isFinite)) drawn += draw();
      else return say("The network gives no numbers any more: its training has diverged.", true);
    } while (tokens.length < end && performance.now() < until && !(slowly && drawn));
    if (performance.now() - shown > (calm.matches ? CALM : 0)) {
      show();
      shown = performance.now();
    }
    if (slowly && !calm.matches) follow();
    await (slowly ? pause(PACE) : new Promise(requestAnimationFrame));
    if (slowly) (started = performance.now()), (first = tokens.length);
  }
  if (turn === mine) {
    const rate = (1000 * (tokens.length - first)) / (performance.now() - started);
    stop(rate ? `${note}${thoughts.length.toLocaleString("en")} characters, ${Math.round(rate)} a second.` : note);
  }
}

function stop(words) {
  turn++;
  show();
  follow();
  say(words);
}

// Draws the next character by its chances at the temperature that is set now.
function draw() {
  const chances = probabilities(logits), allowed = logits.slice();
  if (vocabulary.hasUnknown) allowed[0] = -Infinity;
  const likely = probabilities(allowed, Number(at("temperature").value)), lot = Math.random();
  let sum = 0, token = likely.findIndex((chance) => (sum += chance) > lot);
  if (token < 0) token = likeliest(likely, 1)[0]; // chances add up to 1 but for rounding
  const best = likeliest(chances, BEST + 1).filter((each) => each >= vocabulary.first).slice(0, BEST);
  add({ token, chance: chances[token], best: best.map((each) => ({ token: each, chance: chances[each] })) });
  return 1;
}

function add(thought) {
  const span = document.createElement("span");
  span.className = `s${Math.min(8, Math.round(-Math.log2(thought.chance)))}`;
  span.textContent = vocabulary.shown(thought.token);
  if (span.textContent === "\n") span.replaceChildren(Object.assign(document.createElement("i"), { textContent: "↵" }), "\n");
  tokens.push(thought.token);
  thoughts.push({ ...thought, span });
  waiting.push(span);
}

function show() {
  const text = at("text"), follows = text.scrollTop + text.clientHeight > text.scrollHeight - 40;
  text.append(...waiting);
  waiting = [];
  if (follows && !chosen) text.scrollTop = text.scrollHeight;
}

// Shows what the network thought when it wrote a character.
function look(thought) {
  at("thought").hidden = !thought;
  if (!thought) return;
  at("sure").textContent = `It wrote ${spoken(thought.token)}, which was ${percent(thought.chance)} likely. What else it thought of:`;
  at("others").replaceChildren(
    ...thought.best.map(({ token, chance }) => {
      const button = document.createElement("button"), bar = document.createElement("i");
      button.type = "button";
      button.append(Object.assign(document.createElement("b"), { textContent: vocabulary.named(token) }), percent(chance), bar);
      button.setAttribute("aria-label", `${spoken(token)}, ${percent(chance)}: go on with it`);
      bar.style.width = `${100 * chance}%`;
      button.addEventListener("click", () => take(thought, token, chance));
      return button;
    }),
  );
}

// Looks at the last character, unless somebody looks at another, or is about to choose.
function follow() {
  if (!chosen && !at("others").contains(document.activeElement)) look(thoughts.at(-1));
}

// Keeps the look on a character, or lets it go.
function choose(thought, aloud = false) {
  chosen?.span.classList.remove("here");
  chosen = thought ?? null;
  chosen?.span.classList.add("here");
  chosen?.span.scrollIntoView({ block: "nearest" });
  look(chosen ?? thoughts.at(-1));
  if (aloud) at("spoken").textContent = chosen ? at("sure").textContent : "";
}

// Goes on from a character with another in its place.
function take(thought, token, chance) {
  const place = thoughts.indexOf(thought);
  show();
  for (const { span } of thoughts.slice(place)) span.remove();
  tokens.length -= thoughts.length - place;
  thoughts.length = place;
  choose(null);
  startAgain();
  add({ token, chance, best: thought.best });
  at("text").focus({ preventScroll: true }); // the button that was pressed is gone
  write();
}

function spoken(token) {
  return SPOKEN[vocabulary.characters[token]] ?? vocabulary.named(token);
}

function listed(characters) {
  const names = characters.slice(0, 10).map((each) => `${each} (U+${each.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")})`);
  return names.join(", ") + (characters.length > 10 ? ` and ${characters.length - 10} more` : "");
}

function percent(chance) {
  return `${(100 * chance).toFixed(chance < 0.0995 ? 1 : 0)} %`;
}

function say(words, wrong = false) {
  at("status").textContent = words;
  at("status").classList.toggle("wrong", wrong);
}

async function copy() {
  if (!thoughts.length) return say("There is nothing to copy yet.");
  const written = thoughts.map(({ token }) => vocabulary.characters[token]).join("");
  try {
    await navigator.clipboard.writeText(beginning + written);
    say("Copied.");
  } catch {
    // Some browsers keep the clipboard from a page on disk.
    getSelection().selectAllChildren(at("text"));
    say("The text is selected: copy it as usual.");
  }
}

const degrees = () => (at("degrees").textContent = Number(at("temperature").value).toFixed(2));
at("temperature").addEventListener("input", degrees);
degrees();
document.forms[0].addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
at("beginning").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.shiftKey || event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  begin();
});
at("stop").addEventListener("click", () => stop("Stopped."));
at("continue").addEventListener("click", () => (tokens.length ? write() : begin()));
at("copy").addEventListener("click", copy);

const under = (event) => thoughts.find(({ span }) => span === event.target.closest("span"));
at("text").addEventListener("click", (event) => choose(under(event)));
at("text").addEventListener("pointermove", (event) => {
  if (event.pointerType === "mouse" && !chosen && under(event)) look(under(event));
});
at("text").addEventListener("keydown", (event) => {
  const place = thoughts.indexOf(chosen), last = thoughts.length - 1;
  const to = { ArrowRight: Math.min(place + 1, last), ArrowLeft: place < 0 ? last : Math.max(place - 1, 0), Home: 0, End: last }[event.key];
  if (event.key === "Escape") choose(null, true);
  if (event.key === "Enter") {
    event.preventDefault(); // else the button would be pressed at once
    at("others").querySelector("button")?.focus();
  }
  if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  choose(thoughts[to], true);
});

// Owns what the comparison page does in a browser: table, filter, and the view in the address. Fetches nothing.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const SYMBOLS = { finished: "✓", running: "▶", stopped: "■", interrupted: "◧", diverged: "✕", failed: "!" };
const DASHES = ["", "8 4", "10 3 2 3", "2 3", "14 3", "4 2", "8 2 2 2 2 2"];
const FIRST = 6; // curves that are drawn before anybody chooses
const byName = new Map(DATA.runs.map((run) => [run.run, run]));
const columns = new Map(DATA.columns.map((column) => [column.key, column]));
const $ = (id) => document.getElementById(id);
const START = { sort: "created", desc: true, filter: "", runs: null, base: null };
let view = { ...START };
let listed = [];

// Small tools
// Texts from runs are only ever set as text, never as HTML.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(parent, tag, attributes = {}, text = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  parent.append(element);
  return element;
}

const number = (value, digits = 3) => value.toLocaleString("en", { maximumSignificantDigits: digits });
const percent = (value) => `${(100 * value).toFixed(2)} %`;

function shown(key, value) {
  if (value === null || value === undefined) return "";
  const kind = columns.get(key).kind;
  if (typeof value !== "number" || kind === "text") return String(value);
  if (kind === "percent") return percent(value);
  return kind === "count" ? value.toLocaleString("en") : number(value);
}

// The view in the address
function readView() {
  view = { ...START };
  for (const part of location.hash.slice(1).split("&")) {
    const at = part.indexOf("=");
    const [name, text] = at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)];
    let value = text;
    try { value = decodeURIComponent(text); } catch { /* a broken address is read as it stands */ }
    if (name === "sort" && columns.has(value)) view = { ...view, sort: value, desc: false };
    if (name === "filter" || name === "base") view[name] = value;
    if (name === "runs") view.runs = text.split(",").map(decoded).filter((run) => byName.has(run));
  }
  if (/(^#|&)sort=/.test(location.hash)) view.desc = /(^#|&)desc(&|$)/.test(location.hash);
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function change(changes) {
  view = { ...view, ...changes };
  const parts = [`sort=${view.sort}`, ...(view.desc ? ["desc"] : [])];
  if (view.filter) parts.push(`filter=${encodeURIComponent(view.filter)}`);
  if (view.runs) parts.push(`runs=${view.runs.map(encodeURIComponent).join(",")}`);
  if (view.base) parts.push(`base=${encodeURIComponent(view.base)}`);
  history.replaceState(null, "", `#${parts.join("&")}`);
  show();
}

// Filter and order
function test(filter) {
  // "val_acc > 0.8" means what "val_acc>0.8" does.
  const tight = filter.replace(/(\w+)\s*([<>]=?|:)\s*/g, (all, key, sign) => (columns.has(key) ? key + sign : all));
  const words = tight.match(/-?(?:[\w]+(?:[<>]=?|:))?(?:"[^"]*"?|\S+)/g) || [];
  const tests = words.map((word) => {
    const no = word.length > 1 && word.startsWith("-");
    const holds = testOne(no ? word.slice(1) : word);
    return (run) => holds(run) !== no;
  });
  return (run) => tests.every((holds) => holds(run));
}

function testOne(word) {
  const parts = /^(\w+)([<>]=?|:)(.*)$/.exec(word);
  const bare = (text) => text.replace(/"/g, "").toLowerCase();
  if (!parts || !columns.has(parts[1])) return (run) => haystack(run).includes(bare(word));
  const [, key, sign, wanted] = parts;
  if (sign === ":") return (run) => String(run[key] ?? "").toLowerCase().includes(bare(wanted));
  const limit = parseFloat(wanted.replace(",", ".")) / (wanted.endsWith("%") ? 100 : 1);
  const holds = { "<": (x) => x < limit, "<=": (x) => x <= limit, ">": (x) => x > limit, ">=": (x) => x >= limit };
  return (run) => typeof run[key] === "number" && holds[sign](run[key]);
}

function haystack(run) {
  run.text ??= DATA.columns.map((column) => run[column.key] ?? "").join("\n").toLowerCase();
  return run.text;
}

function ordered(runs) {
  const { sort, desc } = view;
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true }));
  return [...runs].sort((a, b) => {
    const [x, y] = [a[sort], b[sort]];
    const missing = (x === null) - (y === null); // whatever the order, what is not known comes last
    return missing || (x === null ? 0 : compare(x, y) * (desc ? -1 : 1));
  });
}

// The table
const lines = new Map();
const headings = new Map();

function makeTable() {
  const head = $("runs").tHead;
  const over = make("tr"), row = make("tr");
  const start = DATA.columns.findIndex((column) => column.key === DATA.four[0]);
  const four = make("th", { colspan: DATA.four.length, class: "four", scope: "colgroup" }, "report E's four figures");
  const after = DATA.columns.length - start - DATA.four.length;
  over.append(make("td", { colspan: start }), four, make("td", { colspan: after }));
  for (const column of DATA.columns) {
    const arrow = make("span", { "aria-hidden": "true" });
    const button = make("button", { type: "button", title: column.hint }, column.title, arrow);
    button.addEventListener("click", () => change({
      sort: column.key,
      desc: view.sort === column.key ? !view.desc : column.kind !== "text",
    }));
    const cell = make("th", { scope: "col", class: classOf(column), "data-key": column.key }, button);
    headings.set(column.key, cell);
    row.append(cell);
  }
  head.append(over, row);
  for (const run of DATA.runs) lines.set(run.run, makeLine(run));
}

function classOf(column) {
  return [column.kind === "text" ? "" : "n", DATA.four.includes(column.key) ? "four" : ""].join(" ").trim();
}

function makeLine(run) {
  const line = make("tr", { "data-run": run.run });
  for (const column of DATA.columns) {
    const cell = make("td", { class: classOf(column) });
    if (column.key === "run") fillFirst(cell, run);
    else if (column.key === "state") cell.append(stateOf(run));
    else cell.textContent = (column.key === "data" && run.drawn ? "✎ " : "") + shown(column.key, run[column.key]);
    line.append(cell);
  }
  line.addEventListener("pointerenter", () => highlight(run.run));
  line.addEventListener("pointerleave", () => highlight(null));
  return line;
}

function stateOf(run) {
  return make("span", { class: `state-${run.state}` }, `${SYMBOLS[run.state] || "?"} ${run.state}`);
}

function fillFirst(cell, run) {
  cell.className = "first";
  const box = make("input", { type: "checkbox" });
  box.addEventListener("change", () => {
    const others = chosen().map((one) => one.run).filter((name) => name !== run.run);
    change({ runs: box.checked ? [...others, run.run] : others });
  });
  cell.append(make("label", {}, box, make("span", {}, run.run)));
  if (run.report) cell.append(" ", make("a", { href: `./${encodeURIComponent(run.run)}/report.html` }, "report"));
  run.box = box;
}

function showTable() {
  for (const [key, cell] of headings) {
    const here = key === view.sort;
    if (here) cell.setAttribute("aria-sort", view.desc ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
    cell.querySelector("span").textContent = here ? (view.desc ? " ▼" : " ▲") : "";
  }
  $("runs").tBodies[0].replaceChildren(...listed.map((run) => lines.get(run.run)));
  $("count").textContent = `${listed.length} of ${DATA.runs.length} runs`;
  if ($("filter").value !== view.filter) $("filter").value = view.filter;
}

// All of it
function show() {
  listed = ordered(DATA.runs.filter(test(view.filter)));
  showTable();
  const drawn = new Set(chosen());
  for (const run of DATA.runs) run.box.checked = drawn.has(run);
  curves("by-epoch", 0, "epoch");
  curves("by-seconds", 1, "seconds");
  scatter();
  legend();
  showChanges();
}

makeTable();
makeBases();
let waiting = null;
$("filter").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => change({ filter: $("filter").value }), 120);
});
$("draw").addEventListener("click", () => {
  change({ runs: listed.filter((run) => run.curve.length).map((run) => run.run) });
});
$("clear").addEventListener("click", () => change({ runs: [] }));
$("reset").addEventListener("click", () => change({ ...START }));
addEventListener("hashchange", () => { readView(); show(); });
readView();
show();
document.documentElement.dataset.ready = "yes";

// Sorts and filters the table of runs, and shows the curves of the ticked ones. The address remembers the view.
const $ = (id) => document.getElementById(id);
const FIRST = 6; // so many curves are shown before anybody ticks a run
const COLOURS = 7;
const table = $("runs");
const headings = [...table.tHead.rows[0].cells];
const keys = headings.map((heading) => heading.dataset.key);
const rows = [...table.tBodies[0].rows];
const names = new Map(rows.map((row) => [row.dataset.run, row]));
const START = { sort: "created", desc: true, filter: "", runs: null };
let view = { ...START };

function value(row, key) {
  const cell = row.cells[keys.indexOf(key)];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
}

// The view in the address
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function readView() {
  const parts = location.hash.slice(1).split("&").map((part) => part.split(/=(.*)/s));
  const address = new Map(parts.map(([name, text]) => [name, text ?? ""]));
  view = { ...START };
  if (keys.includes(address.get("sort"))) view = { ...view, sort: address.get("sort"), desc: address.has("desc") };
  if (address.has("filter")) view.filter = decoded(address.get("filter"));
  if (address.has("runs")) view.runs = address.get("runs").split(",").map(decoded).filter((name) => names.has(name));
}

function change(changes) {
  view = { ...view, ...changes };
  const parts = [`sort=${view.sort}`];
  if (view.desc) parts.push("desc");
  if (view.filter) parts.push(`filter=${encodeURIComponent(view.filter)}`);
  if (view.runs) parts.push(`runs=${view.runs.map(encodeURIComponent).join(",")}`);
  history.replaceState(null, "", `#${parts.join("&")}`);
  show();
}

// Filter and order
function parsed(filter) {
  // "val_acc > 80 %" means the same as "val_acc>80%".
  const tight = filter.replace(/(\w+)\s*([<>]=?|:)\s*/g, (all, key, sign) => (keys.includes(key) ? key + sign : all))
    .replace(/(\d)\s+%/g, "$1%");
  const words = tight.match(/-?(?:\w+(?:[<>]=?|:))?(?:"[^"]*"?|\S+)?/g).filter((word) => word);
  const parts = words.map((word) => {
    const excludes = word.length > 1 && word.startsWith("-");
    const { holds, problem } = test(excludes ? word.slice(1) : word);
    return { holds: (row) => holds(row) !== excludes, problem };
  });
  // A comparison that can't be understood hides no row.
  return { tests: parts.filter((part) => !part.problem).map((part) => part.holds),
    problem: parts.map((part) => part.problem).filter((text) => text).join(" ") };
}

function test(word) {
  const [, key, sign, wanted] = /^(\w+)([<>]=?|:)(.*)$/.exec(word) || [];
  const bare = (text) => text.replace(/"/g, "").toLowerCase();
  const i = keys.indexOf(key);
  if (sign === ":" && i >= 0) return { holds: (row) => row.cells[i].textContent.toLowerCase().includes(bare(wanted)) };
  if (!sign || sign === ":") return { holds: (row) => row.textContent.toLowerCase().includes(bare(word)) };
  if (i < 0) {
    const like = keys.filter((name) => name.includes(key.toLowerCase()));
    return { problem: `There is no column ${key}.${like.length ? ` Perhaps ${like.join(" or ")}?` : ""}` };
  }
  if (!headings[i].classList.contains("number")) return { problem: `The column ${key} has no numbers: use ${key}:text.` };
  const limit = number(wanted, headings[i]);
  if (Number.isNaN(limit)) return { problem: `${key}${sign} needs a number after it.` };
  const compare = { "<": (x) => x < limit, "<=": (x) => x <= limit, ">": (x) => x > limit, ">=": (x) => x >= limit };
  return { holds: (row) => typeof value(row, key) === "number" && compare[sign](value(row, key)) };
}

// A number as the table shows it: "34,602", "80 %" or "80" in a column of percentages; or "0.8", or "0,8".
function number(text, heading) {
  const figures = text.replace("%", "");
  const isGrouped = /^\d{1,3}(,\d{3})+(\.\d+)?$/.test(figures);
  const plain = isGrouped ? figures.replaceAll(",", "") : figures.replace(",", ".");
  const amount = plain.trim() ? Number(plain) : NaN;
  const isPercent = text.endsWith("%") || Math.abs(amount) >= 1;
  // The cells contain fractions; without rounding, 70.1 / 100 would not be the 0.701 of a cell.
  return "percent" in heading.dataset && isPercent ? Number((amount / 100).toPrecision(12)) : amount;
}

function order(a, b) {
  const [x, y] = [value(a, view.sort), value(b, view.sort)];
  if (x === "" || y === "") return (x === "") - (y === ""); // unknown values come last in either direction
  const sign = view.desc ? -1 : 1;
  if (typeof x === "number" && typeof y === "number") return sign * (x - y);
  return sign * String(x).localeCompare(String(y), "en", { numeric: true });
}

// What is shown
const allCurves = [...document.querySelectorAll(".curve")];
const curvesOf = new Map();
for (const curve of allCurves) curvesOf.set(curve.dataset.curve, [...(curvesOf.get(curve.dataset.curve) || []), curve]);
const curves = (row) => curvesOf.get(row.dataset.curve) || [];
const listed = () => rows.filter((row) => !row.hidden);
const ticked = () => (view.runs ? view.runs.map((name) => names.get(name))
  : rows.filter((row) => curves(row).length).slice(0, FIRST));

function show() {
  const { tests, problem } = parsed(view.filter);
  for (const row of rows) row.hidden = !tests.every((holds) => holds(row));
  $("problem").textContent = problem;
  table.tBodies[0].replaceChildren(...[...rows].sort(order));
  for (const heading of headings) {
    const isSorted = heading.dataset.key === view.sort;
    heading.ariaSort = isSorted ? (view.desc ? "descending" : "ascending") : null;
    heading.querySelector("span").textContent = isSorted ? (view.desc ? " ▼" : " ▲") : "";
  }
  $("count").textContent = `${listed().length} of ${rows.length} runs`;
  if ($("filter").value !== view.filter) $("filter").value = view.filter;
  showCurves(ticked());
}

function showCurves(chosen) {
  for (const curve of allCurves) curve.setAttribute("class", "curve");
  const isChosen = new Set(chosen);
  for (const row of rows) row.querySelector("input").checked = isChosen.has(row);
  $("legend").replaceChildren(...chosen.map((row, i) => {
    for (const curve of curves(row)) curve.setAttribute("class", `curve shown k${i % COLOURS}`);
    const item = make("li", { className: `k${i % COLOURS}` }, $("swatch").content.cloneNode(true), row.dataset.legend);
    item.dataset.run = row.dataset.run;
    return item;
  }));
  const columns = keys.filter((key, i) => headings[i].hasAttribute("data-setting")
    && new Set(chosen.map((row) => value(row, key))).size > 1);
  $("differ").textContent = columns.length ? `The ticked runs differ in: ${columns.join(", ")}.` : "";
}

// What can be clicked; texts from runs are only ever set as text, never as HTML
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

for (const [i, heading] of headings.entries()) {
  const isNumber = rows.some((row) => "value" in row.cells[i].dataset);
  for (const cell of [heading, ...rows.map((row) => row.cells[i])]) cell.classList.toggle("number", isNumber);
  const button = make("button", { type: "button" }, heading.textContent, make("span", {}));
  button.addEventListener("click", () => {
    const key = heading.dataset.key;
    change({ sort: key, desc: key === view.sort ? !view.desc : isNumber });
  });
  heading.replaceChildren(button);
}
for (const row of rows) {
  const name = row.dataset.run;
  const box = make("input", { type: "checkbox" });
  box.addEventListener("change", () => {
    const others = ticked().map((one) => one.dataset.run).filter((one) => one !== name);
    change({ runs: box.checked ? [...others, name] : others });
  });
  row.cells[0].replaceChildren(make("label", {}, box, make("span", { title: name }, row.cells[0].textContent)));
  if ("report" in row.dataset) {
    row.cells[0].append(" ", make("a", { href: `./${encodeURIComponent(name)}/report.html` }, "report"));
  }
  row.addEventListener("pointerenter", () => curves(row).forEach((curve) => curve.classList.add("on")));
  row.addEventListener("pointerleave", () => curves(row).forEach((curve) => curve.classList.remove("on")));
}
$("filter").addEventListener("input", () => change({ filter: $("filter").value }));
$("all").addEventListener("click", () => change({ runs: listed().map((row) => row.dataset.run) }));
$("none").addEventListener("click", () => change({ runs: [] }));
$("reset").addEventListener("click", () => change({ ...START }));
addEventListener("hashchange", () => { readView(); show(); });
readView();
show();
document.documentElement.dataset.ready = "yes";

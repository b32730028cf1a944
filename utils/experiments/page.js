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
function tests(filter) {
  // "val_acc > 0.8" means the same as "val_acc>0.8".
  const tight = filter.replace(/(\w+)\s*([<>]=?|:)\s*/g, (all, key, sign) => (keys.includes(key) ? key + sign : all));
  const words = tight.match(/-?(?:\w+(?:[<>]=?|:))?(?:"[^"]*"?|\S+)/g) || [];
  return words.map((word) => {
    const excludes = word.length > 1 && word.startsWith("-");
    const holds = test(excludes ? word.slice(1) : word);
    return (row) => holds(row) !== excludes;
  });
}

function test(word) {
  const [, key, sign, wanted] = /^(\w+)([<>]=?|:)(.*)$/.exec(word) || [];
  const bare = (text) => text.replace(/"/g, "").toLowerCase();
  if (!keys.includes(key)) return (row) => row.textContent.toLowerCase().includes(bare(word));
  if (sign === ":") return (row) => row.cells[keys.indexOf(key)].textContent.toLowerCase().includes(bare(wanted));
  const limit = parseFloat(wanted.replace(",", ".")) / (wanted.endsWith("%") ? 100 : 1);
  const compare = { "<": (x) => x < limit, "<=": (x) => x <= limit, ">": (x) => x > limit, ">=": (x) => x >= limit };
  return (row) => typeof value(row, key) === "number" && compare[sign](value(row, key));
}

function order(a, b) {
  const [x, y] = [value(a, view.sort), value(b, view.sort)];
  if (x === "" || y === "") return (x === "") - (y === ""); // unknown values come last in either direction
  const sign = view.desc ? -1 : 1;
  if (typeof x === "number" && typeof y === "number") return sign * (x - y);
  return sign * String(x).localeCompare(String(y), "en", { numeric: true });
}

// What is shown
const curves = (row) => document.querySelectorAll(`.curve[data-curve="${row.dataset.curve}"]`);
const listed = () => rows.filter((row) => !row.hidden);
const ticked = () => (view.runs ? view.runs.map((name) => names.get(name))
  : rows.filter((row) => curves(row).length).slice(0, FIRST));

function show() {
  const holds = tests(view.filter);
  for (const row of rows) row.hidden = !holds.every((one) => one(row));
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
  for (const curve of document.querySelectorAll(".curve")) curve.setAttribute("class", "curve");
  for (const row of rows) row.querySelector("input").checked = chosen.includes(row);
  $("legend").replaceChildren(...chosen.map((row, i) => {
    for (const curve of curves(row)) curve.setAttribute("class", `curve shown k${i % COLOURS}`);
    return make("li", { className: `k${i % COLOURS}` }, $("swatch").content.cloneNode(true), row.dataset.run);
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
  row.cells[0].replaceChildren(make("label", {}, box, make("span", {}, name)));
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

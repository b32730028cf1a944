// Copy buttons, the marked page, scrolling boxes for the keyboard, and the search. Everything else works without it.
"use strict";

for (const pre of document.querySelectorAll("pre.code")) {
  const box = document.createElement("div");
  const button = document.createElement("button");
  box.className = "copied";
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(pre.innerText);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(pre);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  pre.replaceWith(box);
  box.append(pre, button);
}

for (const box of document.querySelectorAll("pre, .scroll")) {
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
}

const pages = document.querySelector("#pages");
const here = pages?.querySelector("[aria-current]");
if (here && here.offsetTop > pages.clientHeight) pages.scrollTop = here.offsetTop - pages.clientHeight / 2;

for (const link of document.querySelectorAll("#contents a")) {
  link.addEventListener("click", () => link.closest(":popover-open")?.hidePopover());
}

const button = document.querySelector(".search-menu");
if (button && button.popoverTargetElement !== undefined) {
  const query = document.querySelector("#query");
  const hits = document.querySelector("#hits");
  let index = [];
  window.setIndex = (rows) => ((index = rows), show());

  function show() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length ? index.filter(([text]) => words.every((word) => text.toLowerCase().includes(word))) : [];
    const starts = (row) => (row[0].toLowerCase().startsWith(words[0]) ? 0 : 1);
    hits.replaceChildren(
      ...found.sort((a, b) => starts(a) - starts(b)).slice(0, 12).map(([text, page, address]) => {
        const item = document.createElement("li");
        const link = document.createElement("a");
        const where = document.createElement("small");
        link.href = button.dataset.root + address;
        link.textContent = text + " ";
        where.textContent = page;
        link.append(where);
        item.append(link);
        return item;
      }),
    );
    if (words.length && !found.length) hits.textContent = "Nothing found.";
  }

  button.hidden = false;
  query.addEventListener("input", show);
  hits.addEventListener("click", () => document.querySelector("#search").hidePopover());
  document.querySelector("#search").addEventListener("toggle", (event) => {
    if (event.newState !== "open") return;
    query.focus();
    if (index.length || document.querySelector("script[data-search]")) return;
    const script = document.createElement("script");
    script.src = button.dataset.index;
    script.dataset.search = "";
    document.head.append(script);
  });
}

"use strict";
// The page is whole without this: it only filters and sorts the overview.
const table = document.getElementById("table");
const rows = [...table.tBodies[0].rows];
const box = document.getElementById("filter");

function filter() {
  const words = box.value.toLowerCase().split(/\s+/);
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const wanted = words.every((word) => text.includes(word));
    row.hidden = !wanted;
    document.getElementById(row.querySelector("a").hash.slice(1)).hidden = !wanted;
    count += wanted;
  }
  document.getElementById("filtered").value = `${count} of ${rows.length}`;
}

function sort(head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const sign = descending ? -1 : 1;
  const key = (row) => {
    const cell = row.cells[head.cellIndex];
    if (!cell) return null;
    if (head.dataset.sort === "text") return cell.textContent;
    return "value" in cell.dataset ? Number(cell.dataset.value) : null;
  };
  const compare = (a, b) => {
    const [one, two] = [key(a), key(b)];
    if (one === null || two === null) return (one === null) - (two === null); // unknown ones last
    return sign * (typeof one === "number" ? one - two : one.localeCompare(two));
  };
  table.tBodies[0].append(...[...rows].sort(compare));
}

for (const head of table.tHead.rows[0].cells) {
  if (!head.dataset.sort) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  button.addEventListener("click", () => sort(head));
  head.replaceChildren(button);
}
document.getElementById("tools").hidden = false;
box.addEventListener("input", filter);

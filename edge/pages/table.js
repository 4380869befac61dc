// Tables that change under the reader: rows stay the elements they are, so that focus and selection do.

/**
 * Fills a table.
 *
 * @param {HTMLTableElement} table
 * @param {Array<{key: string, cells: Array<string | {text: string, href?: string, kind?: string,
 *   title?: string, load?: number}>}>} rows each with a key of its own
 * @param {string} empty what to say when there is none
 */
export function fill(table, rows, empty) {
  const body = table.tBodies[0];
  const columns = table.tHead.rows[0].cells;
  const wanted = rows.length ? rows : [{ key: "", cells: [{ text: empty, kind: "empty" }] }];
  const keys = new Set(wanted.map((row) => row.key));
  const known = new Map();
  for (const row of [...body.rows]) {
    if (keys.has(row.dataset.key)) known.set(row.dataset.key, row);
    else row.remove();
  }
  wanted.forEach((row, place) => {
    let element = known.get(row.key);
    if (!element) {
      element = document.createElement("tr");
      element.dataset.key = row.key;
    }
    if (body.rows[place] !== element) body.insertBefore(element, body.rows[place] ?? null);
    row.cells.forEach((cell, column) => put(element, column, cell, columns));
    if (!row.key) element.cells[0].colSpan = columns.length;
  });
}

function put(row, column, given, columns) {
  const cell = typeof given === "string" ? { text: given } : given;
  const element = row.cells[column] ?? row.insertCell();
  const name = [columns[column].className, cell.kind && `ops-${cell.kind}`].filter(Boolean).join(" ");
  if (element.className !== name) element.className = name;
  if (element.title !== (cell.title ?? "")) element.title = cell.title ?? "";
  if (cell.load !== undefined) return meter(element, cell);
  let holder = element;
  if (cell.href) {
    holder = element.querySelector("a") ?? element.appendChild(document.createElement("a"));
    if (holder.getAttribute("href") !== cell.href) holder.setAttribute("href", cell.href);
  }
  if (holder.textContent !== cell.text) holder.textContent = cell.text;
}

function meter(element, { load, text }) {
  const bar = element.querySelector("meter") ?? element.appendChild(document.createElement("meter"));
  bar.min = 0;
  bar.max = 1;
  bar.high = 0.9;
  bar.low = 0.75;
  bar.optimum = 0;
  bar.value = load;
  bar.textContent = text;
  bar.setAttribute("aria-label", text);
}

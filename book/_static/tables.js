"use strict";

/* Tables of more than ten rows: buttons in the head sort, a field filters; of a long table the first
   rows are shown until a button or a filter asks for more. Without this script, tables are whole. */
(() => {
  const FIRST_ROWS = 12;
  const NUMBER = /^[<>≤≥~]?[-+]?(\d[\d,]*)?\.?\d+(e[-+]?\d+)?(%|[a-zA-Zµ/]{0,7})?$/i;

  const made = (tag, attributes, ...content) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...content);
    return element;
  };

  const textOf = (row, column) => (row.cells[column]?.textContent ?? "").trim();

  // A cell may hold its interval in a second line.
  const compact = (text) =>
    text.split("\n")[0].replaceAll("−", "-").replace(/[\s\u00a0]/g, "").split(/[,;](?!\d)/)[0];

  const absent = (text) => text === "" || text === "–";

  const keys = (rows, column) => {
    const texts = rows.map((row) => compact(textOf(row, column)));
    const numeric = texts.every((text) => absent(text) || NUMBER.test(text));
    if (!numeric) return rows.map((row) => textOf(row, column).toLowerCase());
    return texts.map((text) =>
      absent(text) ? null : Number.parseFloat(text.replaceAll(",", "").replace(/^[<>≤≥~]/, "")),
    );
  };

  const compare = (a, b) =>
    typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;

  const enhance = (table) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const long = table.dataset.rows;
    let order = rows;
    let expanded = !long;

    const filter = made("input", { type: "search", autocomplete: "off" });
    const status = made("span", { role: "status" });
    const more = made("button", { type: "button", class: "gcv-more-rows" }, `Show all ${long}`);

    const show = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const matching = order.filter((row) => {
        const text = row.textContent.toLowerCase();
        return words.every((word) => text.includes(word));
      });
      const limit = expanded || words.length ? Infinity : FIRST_ROWS;
      const visible = new Set(matching.slice(0, limit));
      for (const row of rows) row.hidden = !visible.has(row);
      more.hidden = matching.length <= visible.size;
      status.textContent = words.length ? `${matching.length} of ${rows.length} rows` : "";
    };

    heads.forEach((head, column) => {
      const button = made("button", { type: "button", class: "gcv-sort" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const found = keys(rows, column);
        const known = rows.map((row, i) => [row, found[i]]).filter(([, key]) => key !== null);
        known.sort(([, a], [, b]) => (down ? -compare(a, b) : compare(a, b)));
        const placed = known.map(([row]) => row);
        // Rows without a value stay at the end.
        order = [...placed, ...rows.filter((_, i) => found[i] === null)];
        body.append(...order);
        show();
      });
    });
    filter.addEventListener("input", show);
    more.addEventListener("click", () => {
      expanded = true;
      show();
    });
    const tools = made(
      "div",
      { class: "gcv-table-tools" },
      made("label", {}, "Filter rows ", filter),
      " ",
      status,
    );
    const outer = table.parentElement.matches(".gcv-table") ? table.parentElement : table;
    outer.before(tools);
    outer.after(more);
    show();
  };

  const all = () => document.querySelectorAll("table.gcv-sortable").forEach(enhance);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  else all();
})();

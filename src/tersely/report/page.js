"use strict";
(() => {
  const table = document.querySelector(".tensors");
  const rows = [...table.tBodies];
  const heads = [...table.tHead.rows[0].cells].slice(0, -1);
  const shown = document.querySelector(".tools output");
  const texts = new Map(rows.map((body) => [body, body.rows[0].cells[0].innerText + " " + body.rows[0].cells[1].innerText]));

  const value = (body, column, kind) => {
    const cell = body.rows[0].cells[column];
    if (kind === "text") return cell.innerText.trim().toLowerCase();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  // Numbers first fall, names first rise; cells without a value come last either way; a third click is the file's order.
  const next = { text: { none: "ascending", ascending: "descending", descending: "none" },
                 number: { none: "descending", descending: "ascending", ascending: "none" } };

  const sort = (column) => {
    const head = heads[column], kind = head.firstElementChild.dataset.kind;
    const direction = next[kind][head.getAttribute("aria-sort")];
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", direction);
    const sign = direction === "descending" ? -1 : 1;
    const keyed = rows.map((body) => [body, value(body, column, kind)]);
    keyed.sort(([a, x], [b, y]) => {
      const place = a.dataset.place - b.dataset.place;
      if (direction === "none" || x === y) return place;
      if (x === null || y === null) return x === null ? 1 : -1;
      return sign * (kind === "text" ? x.localeCompare(y, "en", { numeric: true }) : x - y) || place;
    });
    table.append(...keyed.map(([body]) => body));
  };

  const filter = (text) => {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const body of rows) {
      const found = texts.get(body).toLowerCase();
      body.hidden = !words.every((word) => found.includes(word));
      count += !body.hidden;
    }
    shown.textContent = count === rows.length ? `${count} tensors` : `${count} of ${rows.length} tensors`;
  };

  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => sort(column)));
  table.addEventListener("click", (event) => {
    const button = event.target.closest(".name");
    if (!button) return;
    const more = button.closest("tbody").rows[1];
    more.hidden = !more.hidden;
    button.setAttribute("aria-expanded", String(!more.hidden));
  });
  document.querySelector("input[type=search]").addEventListener("input", (event) => filter(event.target.value));
  document.querySelectorAll("input[name=bars]").forEach((choice) => choice.addEventListener("change", () => {
    table.classList.toggle("by-bytes", choice.value === "bytes");
    table.classList.toggle("by-share", choice.value === "share");
  }));
  filter("");
})();

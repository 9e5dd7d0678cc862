"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Colours: those of the system until someone chooses; the choice is kept where the browser lets a file keep one.
  const kept = (() => { try { return window.localStorage; } catch { return null; } })();
  const colour = (name) => { name === "auto" ? root.removeAttribute("data-theme") : root.setAttribute("data-theme", name); };
  for (const input of all(".theme input")) {
    input.addEventListener("change", () => {
      colour(input.value);
      try { kept?.setItem("compressor-theme", input.value); } catch { /* not kept, then */ }
    });
  }
  let before = null;
  try { before = kept?.getItem("compressor-theme"); } catch { /* not kept, then */ }
  const chosen = all(".theme input").find((input) => input.value === before);
  if (chosen) { chosen.checked = true; colour(chosen.value); }
  for (const hidden of all(".theme")) hidden.hidden = false;

  // What a point of a plot is: shown beside it while it is pointed at or has the focus.
  const tip = document.getElementById("tip");
  const lit = (key, on) => {
    for (const other of all("[data-trial]")) if (other.dataset.trial === key) other.classList.toggle("lit", on);
  };
  const show = (point) => {
    const lines = [point.dataset.name, point.dataset.figures, point.dataset.about].map((text, index) => {
      const line = document.createElement(index ? "span" : "b");
      line.textContent = text;
      return line;
    });
    tip.replaceChildren(...lines);
    tip.hidden = false;
    const spot = point.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(spot.left + spot.width / 2 - own.width / 2, 8), root.clientWidth - own.width - 8);
    const above = spot.top - own.height - 10;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${(above > 4 ? above : spot.bottom + 10) + window.scrollY}px`;
    lit(point.dataset.trial, true);
  };
  const hide = (point) => { tip.hidden = true; lit(point.dataset.trial, false); };
  for (const point of all(".point")) {
    for (const event of ["pointerenter", "focus"]) point.addEventListener(event, () => show(point));
    for (const event of ["pointerleave", "blur"]) point.addEventListener(event, () => hide(point));
    point.addEventListener("click", () => {
      hide(point);
      document.getElementById(point.dataset.trial)?.focus({ preventScroll: true });
    });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  for (const row of all("tr[data-trial]")) {
    row.addEventListener("pointerenter", () => lit(row.dataset.trial, true));
    row.addEventListener("pointerleave", () => lit(row.dataset.trial, false));
  }

  // Tables: sorted by a press on a heading, by figures where a column holds any; cells without come last.
  const order = (a, b) => {
    const [x, y] = [a, b].map((cell) => cell.dataset.value);
    if (x !== "" && y !== "") return Number(x) - Number(y);
    return x !== y ? (x === "" ? Infinity : -Infinity) : a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  };
  const sort = (table, column, down) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((one, other) => {
      const difference = order(one.cells[column], other.cells[column]);
      return Number.isFinite(difference) && down ? -difference : difference;
    });
    body.replaceChildren(...rows);
    all("th[scope=col]", table).forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };
  for (const table of all("table.sortable")) {
    const heads = all("th[scope=col]", table);
    const choice = document.createElement("select");
    choice.append(new Option("sort by …", ""));
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(table, column, head.getAttribute("aria-sort") === "ascending"));
      head.replaceChildren(button);
      for (const [mark, down] of [["↑", false], ["↓", true]]) choice.append(new Option(`${button.textContent} ${mark}`, `${column} ${down}`));
    });
    choice.addEventListener("change", () => {
      const [column, down] = choice.value.split(" ");
      if (column !== "") sort(table, Number(column), down === "true");
    });
    choice.setAttribute("aria-label", `Sort: ${table.caption.textContent}`);
    const bar = document.createElement("div");
    bar.className = table.classList.contains("wide") ? "sorter wide" : "sorter";
    bar.append(choice);
    table.parentElement.before(bar);
  }

  // Commands: copied where the browser has a clipboard.
  if (navigator.clipboard) {
    for (const button of all("button.copy")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
          button.textContent = "Copied";
        } catch { button.textContent = "Not allowed"; }
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
    }
  }
})();

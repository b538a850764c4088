// The page's only script: lists of deals behind figures, sorting, filters, files. It builds
// elements and sets text, never markup, and asks nobody for anything.
"use strict";
(() => {
  const found = JSON.parse(document.getElementById("listed").textContent);
  const { columns, labels, texts, titles } = found;
  const rows = (columns.ref || []).length;
  const PAGE = 50;
  const money = new Intl.NumberFormat(found.language, { maximumFractionDigits: 0 });
  const exact = new Intl.NumberFormat(found.language, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const whole = new Intl.NumberFormat(found.language);
  const days = new Intl.DateTimeFormat(found.language, { dateStyle: "medium", timeZone: "UTC" });
  const collator = new Intl.Collator(found.language, { numeric: true, sensitivity: "base" });

  // ---- small helpers -------------------------------------------------------------------

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "text") made.textContent = value;
      else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  const deals = (count) => fill(count === 1 ? texts.deal_one : texts.deal_many, { count: whole.format(count) });

  function value(column, row) {
    const held = columns[column];
    if (!held) return null;
    if (held.words) return held.at[row] < 0 ? null : held.words[held.at[row]];
    const one = held[row];
    return one === undefined ? null : one;
  }

  function shown(column, row) {
    const one = value(column, row);
    if (column === "stage" && one === null) return value("native_stage", row) || found.unmapped;
    if (one === null) return "–";
    if (labels[column]) return labels[column][one] || (column === "stage" && value("native_stage", row)) || one;
    if (column === "close" || column === "created" || column === "closed" || column === "next_step")
      return days.format(new Date(one + "T00:00:00Z"));
    if (column === "amount" || column === "weighted") return money.format(one);
    return typeof one === "number" ? whole.format(one) : one;
  }

  // ---- conditions: "#deals?status=open&close>=2026-11-01" --------------------------------

  const TEST = /^([a-z_]+)(>=|<=|!=|=|>|<)([^]*)$/;

  function conditions(fragment) {
    if (!fragment.startsWith("#deals")) return null;
    const tests = [];
    for (const part of fragment.slice(6).replace(/^\?/, "").split("&")) {
      if (!part) continue;
      let match;
      try {
        match = TEST.exec(decodeURIComponent(part));
      } catch {
        return null;
      }
      if (!match || (match[1] !== "refs" && !Object.hasOwn(columns, match[1]))) return null;
      tests.push({ column: match[1], sign: match[2], value: match[3] });
    }
    return tests;
  }

  function compare(one, sign, wanted) {
    if (one === null) return false;
    const other = typeof one === "number" ? Number(wanted) : wanted;
    if (sign === ">=") return one >= other;
    if (sign === "<=") return one <= other;
    return sign === ">" ? one > other : one < other;
  }

  function passes(column, sign, wanted) {
    const equal = (one) => {
      if (one === null || one === "") return wanted.has("");
      if (column === "findings") return String(one).split(" ").some((id) => wanted.has(id));
      return wanted.has(String(one));
    };
    const test =
      sign === "=" ? equal : sign === "!=" ? (one) => !equal(one) : (one) => compare(one, sign, [...wanted][0]);
    const held = columns[column];
    if (!held.words) return (row) => test(value(column, row));
    const good = held.words.map(test);
    const none = test(null);
    return (row) => (held.at[row] < 0 ? none : good[held.at[row]]);
  }

  function matching(tests) {
    const checks = [];
    const equal = new Map();
    for (const { column, sign, value: wanted } of tests) {
      if (column === "refs") {
        const listed = new Set(Object.hasOwn(found.refs, wanted) ? found.refs[wanted] : []);
        checks.push((row) => listed.has(row));
      } else if (sign === "=") {
        if (!equal.has(column)) equal.set(column, new Set());
        equal.get(column).add(wanted);
      } else checks.push(passes(column, sign, new Set([wanted])));
    }
    for (const [column, wanted] of equal) checks.push(passes(column, "=", wanted));
    const kept = [];
    for (let row = 0; row < rows; row++) if (checks.every((check) => check(row))) kept.push(row);
    return kept;
  }

  // ---- filters, one for the whole page -----------------------------------------------------

  const FILTERS = ["connection", "owner", "pipeline", "stage"];
  const chosen = Object.fromEntries(FILTERS.map((name) => [name, ""]));
  const views = new Set();
  const NONE = "\u0000none";

  function filtered(row) {
    return FILTERS.every((name) => {
      if (chosen[name] === "") return true;
      const one = value(name, row);
      return chosen[name] === NONE ? one === null : one === chosen[name];
    });
  }

  const narrowed = () => FILTERS.some((name) => chosen[name] !== "");

  function choose(name, one) {
    chosen[name] = one;
    for (const select of document.querySelectorAll(`select[data-filter="${name}"]`)) select.value = one;
    filterLists();
    for (const view of views) view.update();
  }

  function filterBar() {
    const bar = element("div", { class: "filters", role: "group" });
    for (const name of FILTERS) {
      const held = columns[name];
      if (!held || !held.words) continue;
      const used = new Set(held.at);
      const words = held.words
        .map((word) => [word, (labels[name] && labels[name][word]) || word])
        .sort((a, b) => collator.compare(a[1], b[1]));
      const select = element("select", { "data-filter": name, onchange: () => choose(name, select.value) });
      select.append(element("option", { value: "", text: texts.filter_all }));
      for (const [word, label] of words) select.append(element("option", { value: word, text: label }));
      if (used.has(-1)) select.append(element("option", { value: NONE, text: texts.none_filter }));
      select.value = chosen[name];
      bar.append(element("label", {}, element("span", { text: titles[name] }), select));
    }
    bar.append(
      element("button", {
        type: "button",
        class: "quietbutton",
        text: texts.reset,
        onclick: () => FILTERS.forEach((name) => choose(name, "")),
      }),
    );
    return bar;
  }

  // Rows of the lists of deals that stand in the page itself.
  function filterLists() {
    for (const line of document.querySelectorAll("tr[data-behind]")) {
      const kept = matching(conditions(line.dataset.behind) || []);
      line.hidden = narrowed() && !kept.some(filtered);
    }
  }

  // ---- a list of deals: sorted, filtered, page by page ----------------------------------------

  const LIST = [
    ["name", "deal"],
    ["company", "company"],
    ["stage", "stage"],
    ["owner", "owner"],
    ["connection", "connection"],
    ["pipeline", "pipeline"],
    ["status", "status"],
    ["close", "close"],
    ["idle_days", "idle"],
    ["amount", "amount"],
  ];
  const NUMERIC = new Set(["amount", "idle_days"]);
  const ranks = new Map();

  // The place of each row in the order of a column; texts are compared once, not at every sort.
  function rank(column) {
    if (ranks.has(column)) return ranks.get(column);
    const held = columns[column];
    let made;
    if (held.words) {
      const label = (word) => (labels[column] && labels[column][word]) || word;
      const order = held.words.map((_, at) => at).sort((a, b) => collator.compare(label(held.words[a]), label(held.words[b])));
      const place = new Array(order.length);
      order.forEach((at, index) => (place[at] = index));
      made = held.at.map((at) => (at < 0 ? null : place[at]));
    } else if (held.some((one) => typeof one === "string")) {
      const order = held.map((_, row) => row).sort((a, b) => collator.compare(held[a] || "", held[b] || ""));
      made = new Array(order.length);
      order.forEach((row, index) => (made[row] = index));
    } else made = held;
    ranks.set(column, made);
    return made;
  }

  function sorted(kept, column, down) {
    const place = rank(column);
    const sign = down ? -1 : 1;
    return kept.slice().sort((a, b) => {
      const left = place[a] ?? null;
      const right = place[b] ?? null;
      if (left === null || right === null) return (left === null) - (right === null) || a - b;
      return left < right ? -sign : left > right ? sign : a - b;
    });
  }

  function dealList(root, base, name) {
    const held = LIST.filter(([column]) => columns[column] && (columns[column].words || columns[column].length));
    const state = { column: "amount", down: true, page: 0, words: "" };
    let current = [];
    const search = element("input", {
      type: "search",
      placeholder: texts.search,
      "aria-label": texts.search,
      oninput: () => {
        state.words = search.value.trim().toLowerCase();
        state.page = 0;
        view.update();
      },
    });
    const sums = element("p", { class: "sums", role: "status" });
    const save = element("button", {
      type: "button",
      class: "quietbutton",
      text: texts.save_csv,
      onclick: () => download(name, [Object.keys(columns), ...current.map((row) => Object.keys(columns).map((one) => value(one, row)))]),
    });
    const heads = held.map(([column, title]) => {
      const button = element("button", {
        type: "button",
        text: titles[title],
        onclick: () => {
          state.down = state.column === column ? !state.down : NUMERIC.has(column);
          state.column = column;
          state.page = 0;
          view.update();
        },
      });
      return element("th", { scope: "col", class: `c-${column}${NUMERIC.has(column) ? " num" : ""}` }, button);
    });
    const body = element("tbody");
    const table = element("table", { class: "deal-list" }, element("caption", { class: "hidden", text: name }));
    table.append(element("thead", {}, element("tr", {}, ...heads)), body);
    const place = element("span", { class: "place" });
    const step = (text, by) =>
      element("button", {
        type: "button",
        class: "quietbutton",
        text,
        onclick: () => {
          state.page += by;
          view.draw();
          scroll.scrollTop = 0;
        },
      });
    const back = step(texts.previous, -1);
    const on = step(texts.next, 1);
    const scroll = element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": name }, table);
    const pager = element("div", { class: "pager" }, back, place, on);
    root.replaceChildren(
      element("div", { class: "tools" }, search, filterBar()),
      element("div", { class: "sumline" }, sums, save),
      scroll,
      pager,
    );

    const view = {
      update() {
        const kept = base.filter(
          (row) =>
            filtered(row) &&
            (!state.words ||
              ["name", "company", "ref", "owner"].some((one) => String(value(one, row) || "").toLowerCase().includes(state.words))),
        );
        current = sorted(kept, state.column, state.down);
        state.page = 0;
        const add = (column) => current.reduce((sum, row) => sum + (value(column, row) || 0), 0);
        const parts = [deals(current.length), `${texts.total} ${found.currency} ${exact.format(add("amount"))}`];
        if (current.length < base.length) parts.push(fill(texts.filtered, { count: deals(base.length) }));
        if (found.left_out) parts.push(fill(texts.left_out, { count: deals(found.left_out) }));
        sums.textContent = parts.join(" · ");
        heads.forEach((head, index) => {
          const mine = held[index][0] === state.column;
          head.setAttribute("aria-sort", mine ? (state.down ? "descending" : "ascending") : "none");
        });
        view.draw();
      },
      draw() {
        const from = state.page * PAGE;
        const part = current.slice(from, from + PAGE);
        body.replaceChildren(...part.map(line));
        if (!part.length) {
          const note = element("td", { colspan: held.length, class: "note", text: texts.nothing_matches });
          body.append(element("tr", {}, note));
        }
        place.textContent = fill(texts.page_of, {
          from: whole.format(part.length ? from + 1 : 0),
          to: whole.format(from + part.length),
          count: whole.format(current.length),
        });
        pager.hidden = current.length <= PAGE;
        back.disabled = from === 0;
        on.disabled = from + PAGE >= current.length;
      },
    };

    function line(row) {
      return element("tr", {}, ...held.map(([column]) => (column === "name" ? title(row) : cell(column, row))));
    }
    function cell(column, row) {
      const made = element("td", { class: `c-${column}${NUMERIC.has(column) ? " num" : ""}` });
      made.append(element("bdi", { text: shown(column, row) }));
      return made;
    }
    function title(row) {
      const url = value("url", row);
      const text = element("bdi", { text: value("name", row) || value("ref", row) });
      const under = [shown("stage", row), value("owner", row), value("connection", row)].filter(Boolean).join(" · ");
      const link = url && /^https?:\/\//i.test(url);
      return element(
        "th",
        { scope: "row", class: "c-name" },
        link ? element("a", { href: url, rel: "noopener noreferrer", target: "_blank" }, text) : text,
        element("span", { class: "under", "aria-hidden": "true" }, element("bdi", { text: under })),
      );
    }
    view.update();
    return view;
  }

  // ---- files: no cell starts a formula (CWE-1236) --------------------------------------------

  const FORMULA = /^[ \u00a0\u200b\u2060\ufeff\u3000]*[=+\-@\t\r\n\0＝＋－＠﹦﹢﹣﹫−]/;

  function quoted(cell) {
    if (cell === null || cell === undefined) return '""';
    const text = typeof cell === "string" && FORMULA.test(cell) ? `'${cell}` : String(cell);
    return `"${text.replaceAll('"', '""')}"`;
  }

  function download(name, lines) {
    const text = "\ufeff" + lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    const file = name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60) || "deals";
    const link = element("a", { href: address, download: `${file}.csv` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  // ---- tables of figures: sorted by their headers, saved as they are shown -------------------

  const PLAIN_NUMBER = /^-?\d+(\.\d+)?$/;

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const original = [...body.rows];
    heads.forEach((head, at) => {
      const button = element("button", { type: "button", text: head.textContent });
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const numeric = original.some((row) => PLAIN_NUMBER.test(row.cells[at].dataset.v));
        const now = head.getAttribute("aria-sort");
        const next = now === "none" ? (numeric ? "descending" : "ascending") : now === "ascending" ? "descending" : "ascending";
        heads.forEach((one) => one.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const key = (row) => row.cells[at].dataset.v;
        const order = original.slice().sort((a, b) => {
          const left = key(a);
          const right = key(b);
          if (left === "" || right === "") return (left === "") - (right === "");
          return sign * (numeric ? Number(left) - Number(right) : collator.compare(left, right));
        });
        body.append(...order);
      });
    });
    const cells = (row) =>
      [...row.cells].map((one) => {
        const text = one.dataset.v === undefined ? one.textContent : one.dataset.v;
        return PLAIN_NUMBER.test(text) ? Number(text) : text;
      });
    const save = element("button", {
      type: "button",
      class: "quietbutton small",
      text: texts.save_csv,
      onclick: () => {
        const visible = [...body.rows].filter((row) => !row.hidden);
        download(table.dataset.name, [heads.map((head) => head.textContent), ...visible.map(cells)]);
      },
    });
    table.closest(".scroll").after(element("p", { class: "tablefoot" }, save));
  }

  // ---- the panel: the deals behind a figure ---------------------------------------------------

  const panel = document.getElementById("panel");

  function open() {
    const tests = conditions(location.hash);
    if (!panel || !tests) return;
    const link = [...document.querySelectorAll('a[href^="#deals"]')].find((one) => one.getAttribute("href") === location.hash);
    const name = link ? link.dataset.title || link.getAttribute("aria-label") || link.textContent : texts.show_all;
    document.getElementById("panel-title").textContent = name;
    for (const view of views) if (view.panel) views.delete(view);
    if (!panel.open) panel.showModal();
    const view = dealList(document.getElementById("panel-body"), matching(tests), name);
    view.panel = true;
    views.add(view);
    document.getElementById("panel-title").focus();
  }

  if (panel) {
    document.getElementById("panel-close").addEventListener("click", () => panel.close());
    panel.addEventListener("click", (event) => {
      if (event.target === panel) panel.close();
    });
    panel.addEventListener("close", () => {
      if (location.hash.startsWith("#deals")) history.replaceState(null, "", location.pathname + location.search);
      document.getElementById("panel-body").replaceChildren();
      for (const view of views) if (view.panel) views.delete(view);
    });
    window.addEventListener("hashchange", () => (location.hash.startsWith("#deals") ? open() : panel.open && panel.close()));
  }

  // ---- light and dark, words beside the pointer -----------------------------------------------

  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  const tip = document.getElementById("tip");
  document.addEventListener("pointerover", (event) => {
    const mark = event.target.closest && event.target.closest(".chart [aria-label]:not(svg)");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.getAttribute("aria-label");
    const box = mark.getBoundingClientRect();
    const left = Math.min(Math.max(event.clientX - tip.offsetWidth / 2, 8), innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${left}px`;
    tip.style.top = `${box.top > tip.offsetHeight + 12 ? box.top - tip.offsetHeight - 8 : box.bottom + 8}px`;
  });

  for (const table of document.querySelectorAll("table[data-name]")) sortable(table);
  const explorer = document.getElementById("explorer");
  if (explorer) views.add(dealList(explorer, Array.from({ length: rows }, (_, row) => row), document.getElementById("gh-all").textContent));
  open();
  document.documentElement.dataset.ready = "yes";
})();

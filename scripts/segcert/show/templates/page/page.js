"use strict";
(() => {
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specifications = read("plots");
  const words = read("interface");
  const every = (selector, act) => document.querySelectorAll(selector).forEach(act);
  let language = "en";
  root.classList.add("scripted");

  // -- what is packed ---------------------------------------------------------------------------

  async function text(packed) {
    const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  /** Runs with the address of a library that is packed in the page. */
  async function library(id, run) {
    const source = new Blob([await text(document.getElementById(id))], { type: "text/javascript" });
    const address = URL.createObjectURL(source);
    const found = await run(address);
    URL.revokeObjectURL(address);
    return found;
  }

  // -- plots: drawn when they come near, again when the language changes ------------------------

  const drawn = new Set();
  let plotly;

  function loaded() {
    plotly ??= library("plotly", (address) => new Promise((resolve, reject) => {
      const script = Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject });
      document.head.append(script);
    }));
    return plotly;
  }

  function inLanguage(value) {
    if (Array.isArray(value)) return value.map(inLanguage);
    if (value === null || typeof value !== "object") return value;
    const keys = Object.keys(value);
    if (keys.length === 2 && "en" in value && "zh" in value) return value[language];
    return Object.fromEntries(keys.map((key) => [key, inLanguage(value[key])]));
  }

  async function draw(place) {
    await loaded();
    const { data, layout } = inLanguage(specifications[place.id]);
    drawn.add(place);
    return Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
  }

  const near = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      near.unobserve(entry.target);
      draw(entry.target);
    }),
    { rootMargin: "600px" },
  );
  every(".plot", (place) => {
    place.style.minHeight = `${specifications[place.id].layout.height}px`;
    near.observe(place);
  });
  window.addEventListener("beforeprint", () => every(".plot", (place) => { if (place.offsetParent) draw(place); }));

  // -- language ---------------------------------------------------------------------------------

  function speak(chosen) {
    language = chosen;
    root.lang = chosen === "zh" ? "zh-CN" : "en";
    document.title = `${words.title[chosen]} · ${document.querySelector(".mode b").textContent}`;
    every("[data-language]", (button) => button.setAttribute("aria-pressed", String(button.dataset.language === chosen)));
    every("option[data-en]", (option) => { option.textContent = option.dataset[chosen]; });
    every(".plot", (place) => {
      place.setAttribute("aria-label", chosen === "zh" ? place.dataset.labelZh : place.dataset.labelEn);
    });
    drawn.forEach(draw);
  }
  every("[data-language]", (button) => button.addEventListener("click", () => speak(button.dataset.language)));
  speak((navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en");

  // -- predictions ------------------------------------------------------------------------------

  const overlays = document.getElementById("predictions");
  const opacity = document.getElementById("opacity");
  const differences = document.getElementById("differences");
  if (opacity) {
    const apply = () => {
      overlays.style.setProperty("--opacity", opacity.value / 100);
      overlays.classList.toggle("without-differences", !differences.checked);
    };
    opacity.addEventListener("input", apply);
    differences.addEventListener("change", apply);
    apply();
  }

  // -- places on the page -----------------------------------------------------------------------

  // The records of many models are packed, each model's by itself, and unpacked when they are looked at.
  const unpacked = new Map();

  function unpack(model) {
    const packed = model.querySelector("script[type='application/gzip']");
    if (packed && !unpacked.has(model)) unpacked.set(model, fill(model, packed));
    return unpacked.get(model);
  }

  async function fill(model, packed) {
    model.insertAdjacentHTML("beforeend", await text(packed));
    packed.remove();
  }
  every("details.model", (model) => model.addEventListener("toggle", () => { if (model.open) unpack(model); }));

  async function find(name) {
    for (const model of document.querySelectorAll("details.model[data-cells]")) {
      if (model.dataset.cells.split(" ").includes(name)) await unpack(model);
    }
    return document.getElementById(name);
  }

  async function reveal() {
    const target = await find(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    target.scrollIntoView();
    if (target.tagName === "DETAILS") target.querySelector("summary").focus({ preventScroll: true });
  }
  window.addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.getAttribute("href") === location.hash) reveal();
  });

  const links = new Map();
  every("header nav a", (link) => links.set(link.getAttribute("href").slice(1), link));
  const here = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
      links.forEach((link, name) => {
        if (name === entry.target.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      });
    }),
    { rootMargin: "-30% 0px -65% 0px" },
  );
  here.observe(document.querySelector(".verdict"));  // at the top: none of them
  links.forEach((_, name) => here.observe(document.getElementById(name)));

  // -- tables that sort and filter: of cells, and of models where there are many ------------------

  const inBoth = (key) => spans(words[key]);
  const spans = (pair) => `<span class="en" lang="en">${pair.en}</span><span class="zh" lang="zh-CN">${pair.zh}</span>`;

  /**
   * A table whose rows are those that all of a form's fields admit: a select by the row's data of its name, one with
   * data-words by one word of that; the search field by the row's text. What the rows say is `data` of the options,
   * where they are made only as they are shown; else it is in the table.
   */
  function sortable(DataTable, table, form, options) {
    const fields = [...form.querySelectorAll("select, input")].map((field) => [field.id.replace(/^.*-/, ""), field]);
    const admits = (said, all) => fields.every(([name, field]) => {
      if (field.tagName !== "SELECT") return all().toLowerCase().includes(field.value.trim().toLowerCase());
      return !field.value || ("words" in field.dataset ? said[name].split(" ") : [said[name]]).includes(field.value);
    });
    const made = new DataTable(table, { order: [], autoWidth: false, ...options });
    made.search.fixed("chosen", (searched, data, index) => {
      if (options.data) return admits(options.data[index], () => Object.values(options.data[index]).join(" "));
      const row = made.row(index).node();
      return admits(row.dataset, () => `${row.textContent} ${row.dataset.reason || ""}`);
    });
    const again = () => made.draw();
    form.addEventListener("submit", (event) => event.preventDefault());
    fields.forEach(([, field]) => ["input", "change"].forEach((event) => field.addEventListener(event, again)));
    fields.forEach(([name, field]) => every(`a[data-${name}][href="#${form.closest("section").id}"]`, (link) => {
      link.addEventListener("click", () => {
        fields.forEach(([, other]) => { other.value = ""; });
        field.value = link.dataset[name];
        again();
      });
    }));
  }

  /** Options for the table of cells whose rows are packed: its columns are those of its head. */
  function ofRows(rows) {
    const heads = [...document.querySelectorAll("#cell-table thead th")].map((head) => head.innerHTML);
    const badges = [...document.querySelectorAll("#grid .legend .badge")];
    const order = badges.map((badge) => badge.className.replace("badge s-", ""));
    const shown = [
      (cell, row) => cell.append(badges[order.indexOf(row.status)].cloneNode(true)),
      (cell, row) => cell.append(row.model),
      (cell, row) => { cell.innerHTML = spans(words.stages[row.stage]); },
      (cell, row) => {
        const link = Object.assign(document.createElement("a"), { href: `#${row.anchor}`, textContent: row.title });
        const from = Object.assign(document.createElement("span"), { className: "quiet", textContent: row.train_cell });
        cell.append(link, ...(row.train_cell ? [" ", from] : []));
      },
      ...heads.slice(4).map((head, index) => (cell, row) => {
        const [, by, number] = row.numbers[index];
        const place = Object.assign(document.createElement("span"), { className: "place", innerHTML: head });
        place.setAttribute("aria-hidden", "true");
        cell.className = number === null ? "number empty" : "number";
        cell.dataset.order = by;
        cell.append(place, number ?? "–");
      }),
    ];
    const values = [
      (row) => order.indexOf(row.status), (row) => row.model, (row) => row.stage, (row) => row.title,
      ...heads.slice(4).map((head, index) => (row) => row.numbers[index][1]),
    ];
    return {
      data: rows,
      deferRender: true,
      columns: values.map((value, index) => ({
        data: null,
        // Text is put in as text, below: a value that were shown would be read as HTML.
        render: (data, type, row) => (type === "display" ? "" : value(row)),
        createdCell: (cell, data, row) => shown[index](cell, row),
      })),
      createdRow: (element, { status, model, stage, reason }) => Object.assign(element.dataset, { status, model, stage, reason }),
    };
  }

  async function sortables() {
    const { default: DataTable } = await library("tables", (address) => import(address));
    const packed = document.getElementById("cell-rows");
    const rows = packed && JSON.parse(await text(packed));
    if (document.getElementById("model-grid")) {
      sortable(DataTable, "#model-grid", document.getElementById("grid-filters"), {
        paging: false,
        layout: { topStart: "info", topEnd: null, bottomStart: null, bottomEnd: null },
        language: {
          info: inBoth("grid_info"), infoEmpty: "", infoFiltered: inBoth("rows_filtered"),
          zeroRecords: inBoth("grid_none"), emptyTable: inBoth("grid_none"),
        },
      });
    }
    sortable(DataTable, "#cell-table", document.getElementById("filters"), {
      ...(rows ? ofRows(rows) : {}),
      pageLength: 25,
      lengthMenu: [[25, 100, -1], ["25", "100", "∞"]],
      layout: { topStart: null, topEnd: null, bottomStart: ["info", "pageLength"], bottomEnd: "paging" },
      language: {
        info: inBoth("rows_info"), infoEmpty: "", infoFiltered: inBoth("rows_filtered"), zeroRecords: inBoth("rows_none"),
        emptyTable: inBoth("rows_none"), lengthMenu: inBoth("rows_length").replace("_MENU_", "").replace("_MENU_", "") + " _MENU_",
      },
    });
    root.classList.add("sortable");
    // So that a print has the plots that nobody has looked at yet; of many models they are folded.
    if (!rows) loaded();
  }

  reveal();
  sortables();
})();

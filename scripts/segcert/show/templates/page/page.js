"use strict";
(() => {
  const root = document.documentElement;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specifications = read("plots");
  const words = read("interface");
  const every = (selector, act) => document.querySelectorAll(selector).forEach(act);
  let language = "en";
  root.classList.add("scripted");

  // -- plots: drawn when they come near, again when the language changes ------------------------

  const drawn = new Set();

  function inLanguage(value) {
    if (Array.isArray(value)) return value.map(inLanguage);
    if (value === null || typeof value !== "object") return value;
    const keys = Object.keys(value);
    if (keys.length === 2 && "en" in value && "zh" in value) return value[language];
    return Object.fromEntries(keys.map((key) => [key, inLanguage(value[key])]));
  }

  function draw(place) {
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
    const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    model.insertAdjacentHTML("beforeend", await new Response(stream).text());
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

  const inBoth = (key) =>
    `<span class="en" lang="en">${words[key].en}</span><span class="zh" lang="zh-CN">${words[key].zh}</span>`;

  /**
   * A table whose rows are those that all of a form's fields admit: a select by the row's data of its name, one with
   * data-words by one word of that; the search field by the row's text.
   */
  function sortable(DataTable, table, form, options) {
    const fields = [...form.querySelectorAll("select, input")].map((field) => [field.id.replace(/^.*-/, ""), field]);
    const admits = (row) => fields.every(([name, field]) => {
      if (field.tagName === "SELECT") {
        const has = "words" in field.dataset ? row.dataset[name].split(" ") : [row.dataset[name]];
        return !field.value || has.includes(field.value);
      }
      return `${row.textContent} ${row.dataset.reason || ""}`.toLowerCase().includes(field.value.trim().toLowerCase());
    });
    const made = new DataTable(table, { order: [], autoWidth: false, ...options });
    made.search.fixed("chosen", (text, data, index) => admits(made.row(index).node()));
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

  async function sortables() {
    const source = new Blob([read("tables")], { type: "text/javascript" });
    const address = URL.createObjectURL(source);
    const { default: DataTable } = await import(address);
    URL.revokeObjectURL(address);
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
      pageLength: 25,
      lengthMenu: [[25, 100, -1], ["25", "100", "∞"]],
      layout: { topStart: null, topEnd: null, bottomStart: ["info", "pageLength"], bottomEnd: "paging" },
      language: {
        info: inBoth("rows_info"), infoEmpty: "", infoFiltered: inBoth("rows_filtered"), zeroRecords: inBoth("rows_none"),
        emptyTable: inBoth("rows_none"), lengthMenu: inBoth("rows_length").replace("_MENU_", "").replace("_MENU_", "") + " _MENU_",
      },
    });
    root.classList.add("sortable");
  }

  reveal();
  sortables();
})();

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
  window.addEventListener("beforeprint", () => every(".plot", draw));

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

  function reveal() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
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

  // -- the table of cells -----------------------------------------------------------------------

  const filters = Object.fromEntries(
    ["status", "model", "stage", "text"].map((name) => [name, document.getElementById(`filter-${name}`)]),
  );
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());

  const inBoth = (key) =>
    `<span class="en" lang="en">${words[key].en}</span><span class="zh" lang="zh-CN">${words[key].zh}</span>`;

  async function sortable() {
    const source = new Blob([read("tables")], { type: "text/javascript" });
    const address = URL.createObjectURL(source);
    const { default: DataTable } = await import(address);
    URL.revokeObjectURL(address);
    const table = new DataTable("#cell-table", {
      order: [],
      pageLength: 25,
      lengthMenu: [[25, 100, -1], ["25", "100", "∞"]],
      autoWidth: false,
      layout: { topStart: null, topEnd: null, bottomStart: ["info", "pageLength"], bottomEnd: "paging" },
      language: {
        info: inBoth("rows_info"), infoEmpty: "", infoFiltered: inBoth("rows_filtered"), zeroRecords: inBoth("rows_none"),
        emptyTable: inBoth("rows_none"), lengthMenu: inBoth("rows_length").replace("_MENU_", "").replace("_MENU_", "") + " _MENU_",
      },
    });
    table.search.fixed("chosen", (text, data, index) => {
      const row = table.row(index).node();
      const typed = filters.text.value.trim().toLowerCase();
      return ["status", "model", "stage"].every((name) => !filters[name].value || row.dataset[name] === filters[name].value)
        && (!typed || `${row.textContent} ${row.dataset.reason}`.toLowerCase().includes(typed));
    });
    const again = () => table.draw();
    Object.values(filters).forEach((filter) => ["input", "change"].forEach((event) => filter.addEventListener(event, again)));
    every("a[data-status]", (link) => link.addEventListener("click", () => {
      filters.status.value = link.dataset.status;
      again();
    }));
    root.classList.add("sortable");
  }

  reveal();
  sortable();
})();

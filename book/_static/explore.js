"use strict";

/* The page Explore: a scatter of all runs (greencv_core.report.pages.explore), drawn by Vega, with a
   list of the same runs. Words of the data become text, never HTML. */
(() => {
  const SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross",
                  "triangle-right", "triangle-left"];
  const LIGHT = ["#0072b2", "#c14f00", "#00795a", "#a8568a", "#3a8fc4", "#9a6b00", "#6a51a3", "#6b6b6b"];
  const DARK = ["#56b4e9", "#ff8c42", "#3ddbb0", "#e59cc6", "#9fd3f5", "#ffc94d", "#b9a7ea", "#b5b5b5"];
  const COLOURS = ["source", "provenance", "family", "dataset", "environment", "framework",
                   "correctness_name"];
  const FILTERS = ["dataset", "family", "environment", "source"];
  const DEFAULTS = { x: "gflops_per_image", y: "energy_j_per_image", colour: "source", log: "yes" };
  const FALLBACK = { x: "duration_s", y: "energy_j" };
  const OTHER = "other";
  const ROWS = 20;

  const made = (tag, attributes = {}, ...content) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...content);
    return element;
  };

  const shown = (value) => {
    if (value === undefined || !Number.isFinite(value)) return "–";
    if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e7)) {
      return value.toExponential(2).replace("-", "−");
    }
    const digits = { maximumSignificantDigits: 3 };
    return value.toLocaleString("en", Math.abs(value) < 1000 ? digits : { maximumFractionDigits: 0 });
  };

  const count = (n) => `${n.toLocaleString("en")} ${n === 1 ? "run" : "runs"}`;

  const unpack = (about) =>
    about.ids.map((id, i) => {
      const run = { id, number: {} };
      for (const [name, { codes, levels }] of Object.entries(about.texts)) run[name] = levels[codes[i]];
      for (const [name, values] of Object.entries(about.numbers)) run.number[name] = values[i] ?? NaN;
      return run;
    });

  const start = (panel) => {
    const about = JSON.parse(panel.querySelector("script").textContent);
    const nameOf = (run, column) => {
      const names = about.names[column];
      return names && Object.hasOwn(names, run[column]) ? names[run[column]] : run[column];
    };
    const known = window.greencvRuns ?? { sets: {}, pages: [] };
    const pages = new Set(known.pages);
    const published = unpack(about);
    let own = [];
    let picked = null;
    let points = [];
    let view = null;
    let listed = ROWS;
    let sort = { column: null, down: false };
    const state = { ...DEFAULTS, dataset: "", family: "", environment: "", source: "", all: "", runs: "" };

    // What is on the page
    const controls = made("div", { class: "gcv-explore-controls" });
    const selects = {};
    const select = (name, label) => {
      selects[name] = made("select", { name });
      selects[name].addEventListener("change", () => set(name, selects[name].value));
      controls.append(made("label", {}, label, selects[name]));
    };
    select("x", "Across");
    select("y", "Up");
    select("colour", "Colour and shape");
    for (const name of FILTERS) select(name, about.labels[name]);
    const checks = {};
    const check = (name, label) => {
      checks[name] = made("input", { type: "checkbox" });
      checks[name].addEventListener("change", () => set(name, checks[name].checked ? "yes" : "no"));
      controls.append(made("label", { class: "gcv-check" }, checks[name], label));
    };
    check("log", "Logarithmic axes");
    check("all", "Also disturbed runs and runs left out");

    const subset = made("p", { class: "gcv-explore-subset" });
    const status = made("p", { role: "status", class: "gcv-explore-status" });
    const chart = made("div", { class: "gcv-explore-chart", tabindex: "0", role: "application",
                                "aria-roledescription": "scatter plot" });
    const help = made("p", { class: "gcv-explore-help" },
      "Point at a run to see its values; click to keep them on the page. Keyboard: the arrow keys " +
      "move from run to run (left and right by the horizontal axis, up and down by the vertical " +
      "one), Enter opens the run's page, Escape clears the choice.");
    const tip = made("div", { class: "gcv-explore-tip", hidden: "" });
    const details = made("div", { class: "gcv-explore-run", role: "status" });

    const file = made("input", { type: "file", accept: ".csv,.tsv,.txt,text/csv" });
    const message = made("p", { role: "status", class: "gcv-explore-message" });
    const remove = made("button", { type: "button", hidden: "" }, "Remove my runs");
    const drop = made("div", { class: "gcv-drop" },
      made("label", {}, "Drop your runs here, or choose a file (CSV): ", file), " ", remove,
      made("p", { class: "gcv-explore-help" },
        "A runs.csv of greencv, or a table with at least the columns architecture, environment, " +
        "energy_j and provenance. Your browser reads the file; it is sent nowhere. ",
        made("a", { href: "../guides/own_measurements.html" }, "The format")),
      message);

    const table = made("table", { class: "gcv-data" });
    const more = made("button", { type: "button", class: "gcv-more-rows" });
    const region = made("div", { class: "gcv-table", tabindex: "0", role: "region",
                                 "aria-label": "The runs of the chart" }, table);
    panel.replaceChildren(controls, subset, status, chart, help, details, drop,
      made("h3", {}, "The runs of the chart"), region, more, tip);

    const palette = () => (document.documentElement.dataset.theme === "dark" ? DARK : LIGHT);

    const options = (name, entries) => {
      selects[name].replaceChildren(
        ...entries.map(([value, text]) => new Option(text, value, false, value === state[name])),
      );
    };

    const every = () => [...published, ...own];

    const refill = () => {
      const axes = Object.keys(about.numbers).map((name) => [name, about.labels[name]]);
      options("x", axes);
      options("y", axes);
      options("colour", COLOURS.map((name) => [name, about.labels[name]]));
      for (const name of FILTERS) {
        // What another filter leaves is offered.
        const left = every().filter((run) =>
          FILTERS.every((other) => other === name || !state[other] || run[other] === state[other]));
        const levels = new Map(left.map((run) => [run[name], nameOf(run, name)]));
        levels.delete("");
        if (state[name] && !levels.has(state[name])) levels.set(state[name], state[name]);
        const ordered = [...levels].sort((a, b) => a[1].localeCompare(b[1], "en", { numeric: true }));
        options(name, [["", "All"], ...ordered]);
      }
      checks.log.checked = state.log === "yes";
      checks.all.checked = state.all === "yes";
    };

    const members = () => {
      const set = known.sets[state.runs];
      return set && new Set(set.drawn.flatMap(([from, to]) => published.slice(from, to)));
    };

    const kept = () => {
      const of = members();
      return every().filter((run) => {
        if (of && !run.own && !of.has(run)) return false;
        if (!of && state.all !== "yes" && run.left_out && run !== picked) return false;
        return FILTERS.every((name) => !state[name] || run[name] === state[name]);
      });
    };

    const drawable = (run) =>
      ["x", "y"].every((axis) => {
        const value = run.number[state[axis]];
        return Number.isFinite(value) && (state.log !== "yes" || value > 0);
      });

    const write = () => {
      const asked = new URLSearchParams();
      for (const [name, value] of Object.entries(state)) {
        if (value !== (DEFAULTS[name] ?? "")) asked.set(name, value);
      }
      if (picked && !picked.own) asked.set("run", picked.id);
      const text = asked.toString();
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    };

    const set = (name, value) => {
      state[name] = value;
      listed = ROWS;
      write();
      draw();
    };

    const colourLevels = (runs) => {
      const times = new Map();
      for (const run of runs) {
        const level = nameOf(run, state.colour) || "unknown";
        times.set(level, (times.get(level) ?? 0) + (run.own && state.colour === "source" ? 1e9 : 1));
      }
      const levels = [...times].sort((a, b) => b[1] - a[1]).map(([level]) => level);
      return levels.length > SHAPES.length ? [...levels.slice(0, SHAPES.length - 1), OTHER] : levels;
    };

    const spec = (levels, width) => {
      const ink = getComputedStyle(panel).color;
      const scale = (name) => ({
        name, type: state.log === "yes" ? "log" : "linear", zero: false, nice: state.log !== "yes",
        domain: { data: "runs", field: name }, range: name === "x" ? "width" : "height", padding: 12,
      });
      const axis = (name, orient) => ({
        scale: name, orient, title: about.labels[state[name]], grid: true, gridOpacity: 0.12,
        format: "~g", labelOverlap: "greedy", labelSeparation: 4, labelFontSize: 12, titleFontSize: 13,
        labelColor: ink, titleColor: ink, tickColor: ink, domainColor: ink, gridColor: ink,
        titleFontWeight: "normal",
        ...(width < 500 && name === "x" ? { tickCount: 4 } : {}),
      });
      const symbol = {
        x: { scale: "x", field: "x" }, y: { scale: "y", field: "y" },
        shape: { scale: "shape", field: "level" },
      };
      return {
        width, height: Math.max(260, Math.min(400, width * 0.6)), padding: 4,
        autosize: { type: "fit-x", contains: "padding" },
        config: { font: getComputedStyle(panel).fontFamily },
        data: [{ name: "runs", values: points }, { name: "picked", values: [] }],
        scales: [
          scale("x"), scale("y"),
          { name: "colour", type: "ordinal", domain: levels, range: palette() },
          { name: "shape", type: "ordinal", domain: levels, range: SHAPES },
        ],
        axes: [axis("x", "bottom"), axis("y", "left")],
        legends: [{
          fill: "colour", shape: "shape", orient: "bottom", labelFontSize: 12, titleFontSize: 13,
          title: about.labels[state.colour], columns: Math.max(1, Math.floor(width / 190)),
          labelLimit: 220, labelColor: ink, titleColor: ink, titleFontWeight: "normal", symbolSize: 80,
        }],
        marks: [
          { type: "symbol", name: "points", from: { data: "runs" }, encode: { update: {
            ...symbol, fill: { scale: "colour", field: "level" }, tooltip: { field: "key" },
            size: { field: "size" }, fillOpacity: { field: "opacity" }, cursor: { value: "pointer" },
            stroke: { value: ink }, strokeWidth: { field: "edge" },
          } } },
          { type: "symbol", interactive: false, from: { data: "picked" }, encode: { update: {
            ...symbol, size: { value: 260 }, stroke: { value: ink }, strokeWidth: { value: 2.5 },
            fill: { value: "transparent" },
          } } },
        ],
      };
    };

    const facts = (run) =>
      `${nameOf(run, "architecture")}, ${nameOf(run, "environment")} (${run.source}). ` +
      ["x", "y"].map((axis) => `${about.labels[state[axis]]}: ${shown(run.number[state[axis]])}`)
        .join("; ") + `. Energy is ${run.provenance}.`;

    const showTip = (handler, event, item, key) => {
      const point = key == null || key === "" ? null : points[Number(key)];
      tip.hidden = !point;
      if (!point) return;
      tip.textContent = facts(point.run);
      const box = panel.getBoundingClientRect();
      const left = Math.min(event.clientX - box.left + 12, box.width - tip.offsetWidth - 4);
      tip.style.left = `${Math.max(0, left)}px`;
      tip.style.top = `${event.clientY - box.top + 14}px`;
    };

    const link = (run, text) => {
      if (pages.has(run.id)) return made("a", { href: `../../runs/${run.id}.html` }, text);
      if (run.own) return made("span", {}, text);
      return made("a", { href: `#run=${encodeURIComponent(run.id)}` }, text);
    };

    const pick = (run) => {
      picked = run;
      const point = points.find((one) => one.run === run);
      view?.data("picked", point ? [point] : []).runAsync();
      if (!run) {
        details.replaceChildren();
        return;
      }
      const rows = [
        ...Object.keys(about.texts).map((name) => [about.labels[name], run[name]]),
        ...Object.keys(about.numbers).map((name) => [about.labels[name], shown(run.number[name])]),
      ].filter(([, value]) => value && value !== "–");
      const more = made("dl", {},
        ...rows.flatMap(([name, value]) => [made("dt", {}, name), made("dd", {}, value)]));
      const parts = [made("p", {}, made("strong", {}, run.id), made("br"), facts(run))];
      if (pages.has(run.id)) parts.push(made("p", {}, link(run, "Open this run: settings, epochs, power")));
      if (!run.own) {
        parts.push(made("p", {}, "On the command line: ",
          made("code", {}, `greencv runs show "${run.id}"`)));
      }
      details.replaceChildren(...parts, made("details", {}, made("summary", {}, "All values"), more));
    };

    const list = (runs) => {
      const columns = ["run", "architecture", "environment", "dataset", state.x, state.y, "provenance"];
      const value = (run, name) =>
        name === "run" ? run.id : name in about.numbers ? run.number[name] : nameOf(run, name);
      const ordered = [...runs];
      if (columns.includes(sort.column)) {
        ordered.sort((a, b) => {
          const [u, v] = [value(a, sort.column), value(b, sort.column)];
          if (typeof u === "string") return u.localeCompare(v, "en", { numeric: true });
          return (Number.isFinite(u) ? u : Infinity) - (Number.isFinite(v) ? v : Infinity);
        });
        if (sort.down) ordered.reverse();
      }
      const heads = columns.map((name) => {
        const button = made("button", { type: "button", class: "gcv-sort" },
          name === "run" ? "Run" : about.labels[name]);
        button.addEventListener("click", () => {
          sort = { column: name, down: sort.column === name && !sort.down };
          list(runs);
          [...table.tHead.rows[0].cells][columns.indexOf(name)].firstChild.focus();
        });
        const head = made("th", { scope: "col", ...(name in about.numbers ? { class: "gcv-number" } : {}) },
          button);
        if (sort.column === name) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
        return head;
      });
      const rows = ordered.slice(0, listed).map((run) => made("tr", {}, ...columns.map((name) => {
        if (name === "run") return made("td", {}, link(run, run.id));
        if (name in about.numbers) {
          return made("td", { class: "gcv-number" }, shown(run.number[name]));
        }
        return made("td", {}, nameOf(run, name) || "–");
      })));
      table.replaceChildren(made("thead", {}, made("tr", {}, ...heads)), made("tbody", {}, ...rows));
      more.hidden = ordered.length <= listed;
      more.textContent = `Show 100 more of ${count(ordered.length)}`;
      more.onclick = () => {
        listed += 100;
        list(runs);
      };
    };

    const tell = (runs) => {
      const missing = runs.length - points.length;
      const provenances = new Map();
      for (const { run } of points) {
        provenances.set(run.provenance, (provenances.get(run.provenance) ?? 0) + 1);
      }
      const energies = [...provenances].map(([word, n]) => `${n.toLocaleString("en")} ${word}`);
      const lacking = missing ? ` ${count(missing)} without these values.` : "";
      status.textContent =
        `${count(points.length)} drawn; energy: ${energies.join(", ") || "none"}.${lacking} ${about.sampled}`;
      chart.setAttribute("aria-label",
        `${about.labels[state.y]} against ${about.labels[state.x]} of ${count(points.length)}`);
      const of = members();
      subset.replaceChildren();
      if (state.runs) {
        const here = of?.size;
        const size = known.sets[state.runs]?.size;
        const text = !of ? "This report does not know the runs of this link, so all are shown. "
          : here === size ? `Only the ${count(size)} behind a number or a figure of this report. `
          : `Only ${here} of the ${count(size)} behind a number or a figure of this report. `;
        const all = made("button", { type: "button" }, "Show all runs");
        all.addEventListener("click", () => set("runs", ""));
        subset.append(text, all);
      }
    };

    const draw = () => {
      refill();
      const runs = kept();
      const levels = colourLevels(runs.filter(drawable));
      points = runs.filter(drawable).map((run, i) => ({
        run, key: String(i), x: run.number[state.x], y: run.number[state.y],
        level: [nameOf(run, state.colour) || "unknown"].find((level) => levels.includes(level)) ?? OTHER,
        size: run.own ? 110 : 36, opacity: run.own ? 1 : 0.65, edge: run.own ? 1.5 : 0.3,
      }));
      tell(runs);
      list(runs);
      view?.finalize();
      view = null;
      const place = made("div");
      chart.replaceChildren(place);
      const width = Math.floor(chart.clientWidth) - 4;
      if (width <= 0) return;
      if (!points.length) {
        place.textContent = "No run has these values.";
        return;
      }
      const options = { mode: "vega", renderer: "canvas", actions: false, tooltip: showTip };
      window.vegaEmbed(place, spec(levels, width), options).then((embedded) => {
        if (!place.isConnected) {
          embedded.finalize();
          return;
        }
        view = embedded.view;
        view.addEventListener("click", (event, item) => {
          if (item?.datum?.run) {
            pick(item.datum.run);
            write();
          }
        });
        if (picked) pick(picked);
      });
    };

    chart.addEventListener("mouseleave", () => (tip.hidden = true));
    chart.addEventListener("keydown", (event) => {
      const axis = { ArrowLeft: "x", ArrowRight: "x", Home: "x", End: "x", ArrowUp: "y", ArrowDown: "y" }[
        event.key];
      if (event.key === "Escape") {
        pick(null);
        write();
      } else if (event.key === "Enter" && picked && pages.has(picked.id)) {
        location.href = `../../runs/${picked.id}.html`;
      } else if (axis && points.length) {
        event.preventDefault();
        const ordered = [...points].sort((a, b) => a[axis] - b[axis]);
        const at = ordered.findIndex((point) => point.run === picked);
        const step = event.key === "ArrowRight" || event.key === "ArrowUp" ? 1 : -1;
        const next = { Home: 0, End: ordered.length - 1 }[event.key] ??
          (at < 0 ? 0 : Math.min(Math.max(at + step, 0), ordered.length - 1));
        pick(ordered[next].run);
        write();
      }
    });

    const add = async (given) => {
      if (!given) return;
      const result = await window.greencvFiles.read(given, about);
      if (result.problem) {
        message.textContent = result.problem;
        return;
      }
      const step = Math.ceil(result.runs.length / about.mostRuns);
      own = result.runs.filter((_, i) => i % step === 0);
      const all = count(result.runs.length);
      const part = step > 1 ? `${own.length.toLocaleString("en")} of the ${all}` : all;
      message.textContent =
        `${part} in ${given.name} drawn${step > 1 ? ` (one in ${step})` : ""}` +
        (result.skipped ? `; ${count(result.skipped)} without energy skipped` : "") + ". Nothing was sent.";
      remove.hidden = false;
      picked = null;
      details.replaceChildren();
      Object.assign(state, { colour: "source", runs: "" });
      for (const name of FILTERS) state[name] = "";
      const fits = (axes) => {
        Object.assign(state, axes);
        return own.filter(drawable).length * 2 >= own.length;
      };
      if (!own.some(drawable)) fits({ x: "duration_s", y: "energy_j" }) || fits({ x: "energy_j", y: "energy_j" });
      write();
      draw();
    };
    file.addEventListener("change", () => add(file.files[0]));
    remove.addEventListener("click", () => {
      own = [];
      file.value = "";
      remove.hidden = true;
      message.textContent = "Your runs were removed.";
      draw();
      file.focus();
    });
    for (const name of ["dragover", "drop"]) {
      panel.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle("gcv-over", name === "dragover");
        if (name === "drop") add(event.dataTransfer.files[0]);
      });
    }
    panel.addEventListener("dragleave", () => drop.classList.remove("gcv-over"));

    const read = () => {
      const asked = new URLSearchParams(location.hash.slice(1));
      for (const name of Object.keys(state)) {
        const value = asked.get(name) ?? DEFAULTS[name] ?? "";
        const axis = name === "x" || name === "y";
        state[name] = (axis && !(value in about.numbers)) ||
          (name === "colour" && !COLOURS.includes(value)) ? DEFAULTS[name] : value;
      }
      picked = every().find((run) => run.id === asked.get("run")) ?? null;
      const here = picked ? [picked] : kept();
      const unseen = here.filter((run) => !drawable(run)).length;
      if (!asked.has("x") && !asked.has("y") && unseen * 2 > here.length) Object.assign(state, FALLBACK);
      listed = ROWS;
      draw();
      pick(picked);
      if (picked) details.scrollIntoView({ block: "center" });
    };
    addEventListener("hashchange", read);
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    let width = chart.clientWidth;
    new ResizeObserver(() => {
      if (chart.clientWidth === width) return;
      width = chart.clientWidth;
      requestAnimationFrame(draw);
    }).observe(chart);
    read();
  };

  const all = () => document.querySelectorAll("#gcv-explore").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  else all();
})();

"use strict";

/* The panel of greencv_core.report.pages.decision: every answer is in its JSON, ready to show; this looks
   up the one for the loss that was stated. Words of the data become text, never HTML. */
(() => {
  const hundredths = (points) => Math.floor(Number((100 * points).toFixed(6)));

  const cell = (tag, text) => {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  };

  const row = (tag, texts) => {
    const made = document.createElement("tr");
    made.append(...texts.map((text) => cell(tag, text)));
    return made;
  };

  const start = (panel) => {
    const { sources } = JSON.parse(panel.querySelector("script").textContent);
    const radios = [...panel.querySelectorAll("input[type=radio]")];
    const number = panel.querySelector("input[type=number]");
    const slider = panel.querySelector("input[type=range]");
    const table = panel.querySelector(".gcv-decision-table");
    let points = Number(number.value);

    const say = (part, text) => {
      const place = panel.querySelector(`[data-${part}]`);
      // What has not changed is not read out again.
      if (place.textContent !== text) place.textContent = text;
    };

    const show = () => {
      const source = sources[radios.findIndex((radio) => radio.checked)];
      const reached = source.steps.filter((step) => step.from_hundredths <= hundredths(points));
      const step = reached.at(-1) ?? { headline: "", details: "", rows: [] };
      say("asked", source.asked.join(points));
      say("headline", step.headline);
      say("details", step.details);
      say("about", source.about);
      table.hidden = step.rows.length === 0;
      const head = row("th", source.heads);
      for (const named of head.children) named.scope = "col";
      table.querySelector("thead").replaceChildren(head);
      table.querySelector("tbody").replaceChildren(...step.rows.map((texts) => row("td", texts)));
    };

    const take = (value) => {
      if (value === "" || !Number.isFinite(Number(value))) return false;
      points = Math.min(Math.max(Number(value), Number(number.min)), Number(number.max));
      return true;
    };

    const keep = () => {
      const source = sources[radios.findIndex((radio) => radio.checked)].name;
      history.replaceState(null, "", `#${new URLSearchParams({ loss: points, runs: source })}`);
    };

    const linked = new URLSearchParams(location.hash.slice(1));
    if (linked.has("loss") && take(linked.get("loss"))) {
      const at = sources.findIndex((source) => source.name === linked.get("runs"));
      if (at >= 0) radios[at].checked = true;
    }
    number.value = slider.value = points;
    show();
    for (const radio of radios) radio.addEventListener("change", () => (show(), keep()));
    for (const [from, to] of [[number, slider], [slider, number]]) {
      from.addEventListener("input", () => {
        if (!take(from.value)) return;
        to.value = points;
        show();
      });
      from.addEventListener("change", () => {
        // What was typed beyond the limits is shown as what it was taken for.
        from.value = points;
        // Browsers refuse an address that changes with every step of a slider that is dragged.
        keep();
      });
    }
    panel.querySelector(".gcv-decision-controls").hidden = false;
  };

  const all = () => document.querySelectorAll(".gcv-decision").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", all);
  else all();
})();

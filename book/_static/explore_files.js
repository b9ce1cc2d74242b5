"use strict";

/* Reads a table of runs that a reader chose: greencv's runs.csv, or the evidence table of
   book/guides/own_measurements.md. The browser reads the file; nothing is sent. */
window.greencvFiles = (() => {
  const MOST_BYTES = 50e6;
  const REQUIRED = ["architecture", "environment", "energy_j", "provenance"];
  const MISSING = new Set(["", "NA", "NaN", "nan"]);

  class FileError extends Error {}

  const decode = (buffer) => {
    const bytes = new Uint8Array(buffer);
    const starts = (...first) => first.every((byte, i) => bytes[i] === byte);
    if (starts(0x50, 0x41, 0x52, 0x31)) {
      throw new FileError(
        "is a Parquet file, which this page does not read. Write it as CSV: " +
          "greencv runs export --store FILE --output runs.csv",
      );
    }
    const kind = starts(0xff, 0xfe) ? "utf-16le" : starts(0xfe, 0xff) ? "utf-16be" : "utf-8";
    try {
      const text = new TextDecoder(kind, { fatal: true }).decode(bytes);
      if (text.includes("\0")) throw new TypeError("binary");
      return text;
    } catch {
      throw new FileError("is not text. Save the table as CSV in UTF-8");
    }
  };

  // RFC 4180, with the separator that the first line has most of.
  const parse = (text) => {
    const first = text.slice(0, text.search(/[\r\n]|$/));
    const times = (mark) => first.split(mark).length;
    const mark = [",", ";", "\t"].reduce((a, b) => (times(b) > times(a) ? b : a));
    const rows = [];
    let row = [];
    let cell = "";
    let quoted = false;
    const endCell = () => {
      row.push(cell.trim());
      cell = "";
    };
    const endRow = () => {
      endCell();
      if (row.length > 1 || row[0] !== "") rows.push(row);
      row = [];
    };
    for (let i = 0; i < text.length; i += 1) {
      const character = text[i];
      if (quoted) {
        if (character !== '"') cell += character;
        else if (text[i + 1] === '"') cell += text[(i += 1)];
        else quoted = false;
      } else if (character === '"' && cell.trim() === "") {
        cell = "";
        quoted = true;
      } else if (character === mark) endCell();
      else if (character === "\n") endRow();
      else if (character !== "\r") cell += character;
    }
    if (quoted) throw new FileError("has a quotation mark that is not closed");
    if (cell !== "" || row.length) endRow();
    return rows;
  };

  const check = (name, value, limits) => {
    if (!Number.isFinite(value)) return "is not a number";
    if (limits?.positive && value <= 0) return "must be above zero";
    if (limits?.minimum != null && value < limits.minimum) return `is below ${limits.minimum}`;
    if (limits?.maximum != null && value > limits.maximum) return `is above ${limits.maximum}`;
    return null;
  };

  const family = (architecture) =>
    (architecture.replace(/^\w+:/, "").match(/^[A-Za-z]+/)?.[0] ?? architecture).toLowerCase();

  const toRuns = (rows, fileName, about) => {
    if (rows.length < 2) throw new FileError("has no row below its header");
    const [header, ...lines] = rows;
    const column = new Map(header.map((name, i) => [name, i]));
    const lacking = REQUIRED.filter((name) => !column.has(name));
    if (lacking.length) throw new FileError(`row 1: lacks the column ${lacking.join(", ")}`);
    let skipped = 0;
    const runs = [];
    lines.forEach((line, n) => {
      const cell = (name) => {
        const text = line[column.get(name)] ?? "";
        return MISSING.has(text) ? "" : text;
      };
      const fail = (reason) => {
        throw new FileError(`row ${n + 2}: ${reason}`);
      };
      // Runs that failed, or that do not count, may lack an energy.
      const excused = cell("left_out") !== "" || !["", "finished"].includes(cell("status"));
      if (excused && cell("energy_j") === "") {
        skipped += 1;
        return;
      }
      for (const name of REQUIRED) if (cell(name) === "") fail(`${name} is empty`);
      const run = { number: {}, own: true };
      for (const name of Object.keys(about.texts)) run[name] = cell(name);
      for (const name of Object.keys(about.numbers)) {
        const text = cell(name);
        if (text === "") continue;
        const value = Number(text);
        const problem = check(name, value, about.limits[name]);
        if (problem) fail(`${name} ${problem}: ${text.slice(0, 40)}`);
        run.number[name] = value;
      }
      if (!about.provenances.includes(run.provenance)) {
        fail(`provenance must be ${about.provenances.join(", ")}, not ${run.provenance.slice(0, 40)}`);
      }
      run.id = cell("run_id") || `row ${n + 2}`;
      run.source = `${fileName}: ${cell("source") || cell("study") || "runs"}`;
      run.family = family(run.architecture);
      if (cell("disturbed").toLowerCase() === "true") run.left_out ||= "disturbed";
      const { number } = run;
      if (number.correctness === undefined && cell("f1_macro") !== "") {
        number.correctness = Number(cell("f1_macro"));
        run.correctness_name ||= "macro F1";
      }
      const images = Number(cell("images_processed")) || NaN;
      number.energy_j_per_image ??= number.energy_j / images;
      number.power_w ??= number.energy_j / number.duration_s;
      number.duration_s_per_image ??= number.duration_s / images;
      number.images_per_s ??= images / number.duration_s;
      runs.push(run);
    });
    if (!runs.length) throw new FileError("has no finished run with an energy");
    return { runs, skipped };
  };

  /* Returns the runs of a file and how many rows were skipped; or the one line that says why not. */
  const read = async (file, about) => {
    try {
      if (file.size > MOST_BYTES) throw new FileError(`is larger than ${MOST_BYTES / 1e6} MB`);
      return toRuns(parse(decode(await file.arrayBuffer())), file.name, about);
    } catch (error) {
      const reason = error instanceof FileError ? error.message : "cannot be read";
      const joint = reason.startsWith("row") ? ", " : " ";
      return { problem: `${file.name}${joint}${reason}.` };
    }
  };

  return { read };
})();

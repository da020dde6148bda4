"use strict";
// What a reader does: axes, filters, pins, sorting, copying.

const study = JSON.parse(document.getElementById("study").textContent);
study.rows = rowsOf(study.rows);
study.values = Object.fromEntries(DIMENSIONS.map(([key]) => [key, sortedValues(study.rows, key)]));
const CHART = { responsive: true, displaylogo: false, scrollZoom: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const known = (key) => study.rows.some((r) => r.values[key]);
const chosen = {
  x: "latency", y: "loss", colour: "front", intervals: true,
  hidden: new Map(DIMENSIONS.map(([key]) => [key, new Set()])), pins: new Set(), sort: ["latency", 1], allLines: false,
};
const $ = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const isShown = (row) => row.reference || DIMENSIONS.every(([key]) => !chosen.hidden.get(key).has(row[key]));

function configOf(row) {
  const base = study.configs[row.family];
  if (!base) return null;
  const own = Object.keys(base).filter((key) => key in row);
  return { ...base, ...Object.fromEntries(own.map((key) => [key, row[key]])) };
}

async function copyConfig(row) {
  const text = JSON.stringify(configOf(row), null, 2) + "\n";
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page from a file may not be allowed to
    const field = element("textarea", { "aria-hidden": "true" });
    field.value = text;
    document.body.append(field);
    const focused = document.activeElement;
    field.select();
    done = document.execCommand("copy");
    field.remove();
    focused.focus();
  }
  $("copied").textContent = done ? `Copied config.json of ${row.label} (${row.id}).`
    : "The browser does not let this page copy; phonelm-search export writes the file.";
}

const COLUMNS = [
  ["label", "shape", (r) => r.label, (r) => r.label + (r.pick ? " ★" : r.tied ? " (tied)" : "")],
  ["latency", `end-to-end [× ${study.reference}]`],
  ...(study.devices.length > 1 ? [["device", "worst on", (r) => r.device]] : []),
  ...study.axes.filter((a) => /^(whole|prefill|decode)( on |$)/.test(a.key)).map((a) => [a.key, `${a.key.replace("whole", "end-to-end")} [ms]`]), ["loss", "loss by the law [%]"], ["bits_per_byte", "bits/byte"], ["quantised", "quantised"], ["peak", "peak [MB]"],
  ["num_hidden_layers", "layers", (r) => r.num_hidden_layers], ["hidden_size", "width", (r) => r.hidden_size],
  ["intermediate_size", "FFN", (r) => r.intermediate_size],
  ["heads", "heads/KV", (r) => r.num_attention_heads, (r) => `${r.num_attention_heads}/${r.num_key_value_heads}`],
  ["ffn", "FFN kind", (r) => r.ffn], ["hidden_act", "activation", (r) => r.hidden_act], ["decoder", "decoder [M]"],
  ["chance", "on the front", (r) => r.chance, (r) => (r.chance === null ? "–" : `${Math.round(100 * r.chance)} %`)],
  ["verdict", "verdict", (r) => `${r.kind}${r.suspect ? ", suspect" : ""}`],
  ["id", "id", (r) => r.id],
].map(([key, heading, value, text]) => ({
  key, heading,
  value: value || ((r) => (r.values[key] ? r.values[key][0] : null)),
  text: text || ((r) => (value ? String(value(r)) : number(r.values[key] ? r.values[key][0] : null))),
  title: (r) => (key === "verdict" ? r.reasons.map((i) => study.texts[i]).join("; ")
    : !value && r.values[key] && r.values[key][1] !== null ? `95 %: ${number(r.values[key][1])} to ${number(r.values[key][2])}` : null),
})).filter((c) => !study.axes.some((a) => a.key === c.key) || known(c.key));
const numeric = new Set(COLUMNS.filter((c) => study.rows.some((r) => typeof c.value(r) === "number")));
const isNumber = (column) => numeric.has(column);

function buildControls() {
  for (const id of ["x-axis", "y-axis"]) {
    const side = id[0];
    $(id).append(...study.axes.filter((a) => known(a.key)).map((a) => element("option", { value: a.key }, a.label)));
    $(id).value = chosen[side];
    $(id).addEventListener("change", () => { chosen[side] = $(id).value; drawFront(); });
  }
  $("colour").append(element("option", { value: "front" }, "front"),
    ...DIMENSIONS.map(([key, name]) => element("option", { value: key }, name)));
  $("colour").addEventListener("change", () => { chosen.colour = $("colour").value; paintSwatches(); drawFront(); });
  $("intervals").addEventListener("change", () => { chosen.intervals = $("intervals").checked; drawFront(); });
  for (const [key, name] of DIMENSIONS) {
    const values = study.values[key];
    if (values.length < 2) continue;
    const hidden = chosen.hidden.get(key);
    const boxes = values.map((value) => element("input", { type: "checkbox", checked: true, value: String(value),
      onchange: (event) => { if (event.target.checked) hidden.delete(value); else hidden.add(value); refresh(); } }));
    const all = element("button", { type: "button", onclick: () => {
      const show = hidden.size > 0;
      boxes.forEach((box, i) => { box.checked = show; if (show) hidden.delete(values[i]); else hidden.add(values[i]); });
      refresh();
    } }, "all/none");
    $("filters").append(element("fieldset", { "data-key": key }, element("legend", {}, name),
      ...values.map((value, i) => element("label", {}, boxes[i], element("span", { class: "swatch" }), String(value))), all));
  }
  $("unpin-all").addEventListener("click", () => {
    const rows = [...chosen.pins];
    chosen.pins.clear();
    repin(rows);
  });
  paintSwatches();
}

function paintSwatches() {
  const colours = theme();
  for (const field of $("filters").children) {
    const key = field.dataset.key;
    field.classList.toggle("coloured", key === chosen.colour);
    const values = study.values[key];
    field.querySelectorAll(".swatch").forEach((swatch, i) => {
      swatch.style.background = dimensionColour(study, key, values[i], colours);
    });
  }
}

const FIRST_LINES = 100; // thousands are slow to lay out, and nobody reads them at once
const lines = new Map(); // row → its line of the table, once it was shown

function lineOf(row) {
  if (lines.has(row)) return lines.get(row);
  const pin = element("button", { type: "button", class: "pin", "aria-label": `pin ${row.label} ${row.id}`, onclick: () => togglePin(row) });
  const copy = configOf(row) ? element("button", { type: "button", class: "copy", "aria-label": `copy config of ${row.label} ${row.id}`,
    onclick: () => copyConfig(row) }, "copy") : "–";
  const line = element("tr", { class: row.pick ? "picked" : "", "data-id": row.id }, element("td", {}, pin),
    ...COLUMNS.map((column) => element("td", { class: isNumber(column) ? "number" : "", title: column.title(row) }, column.text(row))),
    element("td", {}, copy));
  lines.set(row, line);
  markPin(row);
  return line;
}

function markPin(row) {
  const line = lines.get(row);
  if (!line) return;
  const pinned = chosen.pins.has(row);
  line.classList.toggle("pinned", pinned);
  line.querySelector(".pin").setAttribute("aria-pressed", String(pinned));
  line.querySelector(".pin").textContent = pinned ? "unpin" : "pin";
}

function buildTable() {
  const head = element("tr", {}, element("th", {}, "pin"), ...COLUMNS.map((column) => element("th",
    { class: isNumber(column) ? "number" : "", "data-key": column.key, "aria-sort": "none" },
    element("button", { type: "button", onclick: () => sortBy(column.key) }, column.heading))), element("th", {}, "config"));
  $("shapes").append(element("thead", {}, head), element("tbody"));
  $("all-lines").addEventListener("click", () => { chosen.allLines = true; fillTable(); });
}

function sortBy(key) {
  chosen.sort = [key, chosen.sort[0] === key ? -chosen.sort[1] : 1];
  fillTable();
}

function fillTable() {
  const [key, direction] = chosen.sort;
  const column = COLUMNS.find((c) => c.key === key);
  const order = study.rows.filter(isShown).sort((a, b) => {
    const [left, right] = [column.value(a), column.value(b)];
    if (left === null || right === null) return (left === null) - (right === null); // what is unknown stays last
    return direction * (typeof left === "number" ? left - right : String(left).localeCompare(String(right)));
  });
  const first = chosen.allLines ? order : order.slice(0, FIRST_LINES);
  $("shapes").tBodies[0].replaceChildren(...first.map(lineOf));
  $("all-lines").hidden = first.length === order.length;
  $("all-lines").textContent = `Show all ${order.length} (the first ${first.length} stand here)`;
  for (const head of $("shapes").querySelectorAll("th[data-key]")) {
    const mine = head.dataset.key === key;
    head.setAttribute("aria-sort", mine ? (direction > 0 ? "ascending" : "descending") : "none");
  }
}

function togglePin(row) {
  if (chosen.pins.has(row)) chosen.pins.delete(row);
  else chosen.pins.add(row);
  repin([row]);
}

function drawPinned() {
  const rows = study.rows.filter((r) => chosen.pins.has(r));
  $("compare").hidden = rows.length === 0;
  const facts = [...COLUMNS.map((c) => [c.heading, c.text]),
    ["weights [MB]", (r) => number(r.values.weights[0])], ["KV cache per 1,024 tokens [MB]", (r) => number(r.values.kv[0])],
    ["why suspect", (r) => (r.suspect ? r.reasons.map((i) => study.texts[i]).join("; ") : "–")]];
  $("pinned").replaceChildren(...facts.map(([name, text]) => {
    const cells = rows.map(text);
    const differs = new Set(cells).size > 1;
    const wide = name === "why suspect" ? "wide" : differs ? "differs" : "";
    return element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", { class: wide }, cell)));
  }), element("tr", {}, element("th", { scope: "row" }, "config"), ...rows.map((row) => element("td", {}, configOf(row)
    ? element("button", { type: "button", onclick: () => copyConfig(row) }, "copy") : "–"))));
}

// Rings around the points only: the rest of the picture stays as it is.
function repin(rows) {
  rows.forEach(markPin);
  drawPinned();
  const rings = $("front").data.findIndex((trace) => trace.name === "pinned");
  const { x, y, customdata } = pinTrace(study, study.rows.filter(isShown), chosen);
  Plotly.restyle($("front"), { x: [x], y: [y], customdata: [customdata] }, [rings]);
}

function onPoint(event) {
  const point = event.points[0];
  if (point && point.customdata !== undefined) togglePin(study.rows[point.customdata]);
}

function draw(id, figure) {
  const fresh = !$(id).data;
  Plotly.react($(id), figure.data, figure.layout, CHART);
  if (fresh && (id === "front" || id === "spread")) $(id).on("plotly_click", onPoint);
}

function drawFront() {
  const rows = study.rows.filter(isShown);
  const figure = frontFigure(study, rows, chosen, $("front").clientWidth, $("front").clientHeight);
  draw("front", figure);
  $("front-key").textContent = figure.key;
  if ($("modelled-key")) $("modelled-key").hidden = chosen.x !== "latency" || chosen.y !== "loss";
  const sampled = (found) => found.filter((r) => !r.reference).length;
  $("shown").textContent = `${sampled(rows).toLocaleString("en")} of ${counted(sampled(study.rows), "shape")} shown, ${figure.front.length} on the front` +
    (figure.unknown ? `; ${figure.unknown} without a value across are not drawn` : "") +
    (figure.aside.length ? `; ticks at the bottom: ${figure.aside.length} without a value upwards` : "") +
    (chosen.intervals && !figure.allBarred ? "; intervals of the front only, as there are so many points" : "") + ".";
}

function refresh() {
  const rows = study.rows.filter(isShown);
  fillTable();
  drawFront();
  draw("spread", spreadFigure(study, rows, $("spread").clientWidth));
}

function drawAll() {
  if (study.time.length) draw("time", timeFigure(study, $("time").clientWidth));
  if (!study.rows.length) return;
  paintSwatches();
  refresh();
  if (study.curves.length) draw("training", trainingFigure(study, $("training").clientWidth));
}

if (study.rows.length) {
  buildControls();
  buildTable();
}
drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let wait = 0;
addEventListener("resize", () => { clearTimeout(wait); wait = setTimeout(drawAll, 150); });

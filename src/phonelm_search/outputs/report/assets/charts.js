"use strict";
// Pictures: from the study's document and what a reader chose to plotly's traces. No state here.

const DIMENSIONS = [
  ["hidden_act", "activation"], ["num_hidden_layers", "depth"], ["kv_groups", "KV groups"],
];
const MOST_INTERVALS = 400; // beyond, bars hide the points that they belong to
const SERIES = { // colour-blind-safe, of Okabe and Ito; the dark page needs lighter ones; orange is the pick's
  light: ["#0072B2", "#009E73", "#AA4499", "#8a6d00", "#3388aa", "#444444"],
  dark: ["#56B4E9", "#3fd3a8", "#E39BC6", "#F0E442", "#9ad0f5", "#cccccc"],
};
const DEPTHS = {
  light: [[230, 120, 0], [150, 60, 120], [0, 60, 130]], dark: [[255, 225, 90], [235, 120, 150], [90, 160, 255]],
};

// Rows come by column, as thousands of them would repeat every name.
function rowsOf(columns) {
  const { values, ...plain } = columns;
  return plain.id.map((_, i) => ({
    ...Object.fromEntries(Object.entries(plain).map(([key, column]) => [key, column[i]])),
    values: Object.fromEntries(Object.entries(values).map(([axis, column]) => [axis, column[i]])), place: i,
  }));
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    paper: of("paper"), ink: of("ink"), quiet: of("quiet"), line: of("line"), accent: of("accent"),
    modelled: of("modelled"), pick: of("pick"), reference: of("reference"), faint: of("faint"), panel: of("panel"),
    series: dark ? SERIES.dark : SERIES.light, depths: dark ? DEPTHS.dark : DEPTHS.light,
  };
}

function sortedValues(rows, dimension) {
  const found = [...new Set(rows.filter((r) => !r.reference).map((r) => r[dimension]))];
  return found.sort((a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
}

function dimensionColour(study, dimension, value, colours) {
  const values = study.values[dimension];
  const place = values.indexOf(value);
  if (dimension !== "num_hidden_layers") return colours.series[Math.max(0, place) % colours.series.length];
  const at = values.length > 1 ? (place / (values.length - 1)) * (colours.depths.length - 1) : 0;
  const low = Math.min(Math.floor(at), colours.depths.length - 2);
  const mixed = colours.depths[low].map((c, i) => Math.round(c + (at - low) * (colours.depths[low + 1][i] - c)));
  return `rgb(${mixed.join(",")})`;
}

// Rows that no other one is better than in both directions; equal ones stay, as in the study's own front.
function frontOf(rows, x, y) {
  const cost = (row, axis) => (axis.better === "low" ? 1 : -1) * row.values[axis.key][0];
  const sorted = rows.map((row) => [cost(row, x), cost(row, y), row]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const kept = [];
  let best = Infinity;
  let bestAt = Infinity;
  for (const [across, up, row] of sorted) {
    if (up < best || (up === best && across === bestAt)) {
      kept.push(row);
      best = up;
      bestAt = across;
    }
  }
  return kept;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
}

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

function spanText(span) {
  if (!span) return "–";
  const [value, low, high] = span;
  return low === null ? number(value) : `${number(value)} (${number(low)} to ${number(high)})`;
}

function escaped(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function wrapped(text, width) {
  const lines = [""];
  for (const word of String(text).split(" ")) {
    if (lines[lines.length - 1].length + word.length > width) lines.push("");
    lines[lines.length - 1] += (lines[lines.length - 1] ? " " : "") + word;
  }
  return lines.map(escaped).join("<br>");
}

function hoverText(study, row, x, y) {
  const lines = [
    `<b>${escaped(row.label)}</b>${row.pick ? " ★" : ""}${row.reference ? " (reference)" : ""}`,
    `width ${row.hidden_size}, depth ${row.num_hidden_layers}, FFN ${row.intermediate_size} ${escaped(row.ffn)}`,
    `heads ${row.num_attention_heads}/${row.num_key_value_heads} of ${row.head_dim}, ${escaped(row.hidden_act)}`,
    `${wrapped(x.label, 60)}: <b>${spanText(row.values[x.key])}</b>`,
    `${wrapped(y.label, 60)}: <b>${spanText(row.values[y.key])}</b>`,
    ...(study.devices.length > 1 ? [`worst off on ${escaped(row.device)}`] : []),
    `${row.kind}${row.suspect ? ", suspect" : ""}${row.tied ? ", tied with the pick" : ""}` +
      (row.chance === null ? "" : `, on the front with ${Math.round(100 * row.chance)} %`),
  ];
  if (row.suspect) lines.push(wrapped(study.texts[row.reasons[0]], 60));
  return lines.join("<br>");
}

function baseLayout(colours) {
  const axis = () => ({
    gridcolor: colours.line, linecolor: colours.line, zeroline: false, automargin: true,
    title: { font: { size: 13 }, standoff: 8 },
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colours.ink, size: 12 },
    margin: { l: 60, r: 15, t: 32, b: 55 }, hovermode: "closest", showlegend: false, dragmode: "pan",
    hoverlabel: { bgcolor: colours.panel, bordercolor: colours.line, font: { color: colours.ink }, align: "left" },
    xaxis: axis(), yaxis: axis(),
  };
}

// A title has the room of its axis: the length of the chart without margins and ticks.
function axisTitle(label, length) {
  return wrapped(label, Math.max(20, Math.floor((length - 110) / 7)));
}

// Bars alone: `x` and `y` tell a row's [value, low, high].
function intervalTrace(rows, x, y, colour, more = {}) {
  const bars = (span) => ({
    type: "data", symmetric: false, thickness: 0.9, width: 2, color: colour,
    array: rows.map((r) => (span(r)[2] === null ? 0 : span(r)[2] - span(r)[0])),
    arrayminus: rows.map((r) => (span(r)[1] === null ? 0 : span(r)[0] - span(r)[1])),
  });
  return {
    type: "scatter", mode: "markers", marker: { opacity: 0 }, hoverinfo: "skip", name: "intervals",
    x: rows.map((r) => x(r)[0]), y: rows.map((r) => y(r)[0]), error_x: bars(x), error_y: bars(y), ...more,
  };
}

const WEBGL = Boolean(document.createElement("canvas").getContext("webgl"));
// SVG draws hundreds of points sharply everywhere; thousands want a canvas.
const kindOf = (count) => (WEBGL && count > MOST_INTERVALS ? "scattergl" : "scatter");
const markSize = (count) => (count > MOST_INTERVALS ? 6 : 9);

function symbolOf(row, suspect) {
  const base = row.reference ? "diamond" : row.kind === "estimated" ? "triangle-up" : "circle";
  return suspect ? `${base}-open` : base;
}

function pinTrace(study, rows, chosen) {
  const members = rows.filter((r) => chosen.pins.has(r) && r.values[chosen.x] && r.values[chosen.y]);
  const at = (key) => members.map((r) => r.values[key][0]);
  return { name: "pinned", x: at(chosen.x), y: at(chosen.y), customdata: members.map((r) => r.place) };
}

// All shapes, on the axes that models tell: how many lie where, their front, and its band.
function modelledTraces(study, x, y, colours) {
  const found = study.modelled;
  if (!found || x.key !== "latency" || y.key !== "loss") return [];
  const { front } = found;
  const most = Math.max(...found.counts.map((row) => Math.max(...row)));
  return [{
    type: "heatmap", x: found.x, y: found.y, z: found.counts.map((row) => row.map((n) => (n ? Math.log1p(n) : null))),
    colorscale: [[0, colours.paper], [1, colours.faint]], zmin: 0, zmax: Math.log1p(most), opacity: 0.45, showscale: false,
    hoverinfo: "skip",
  }, {
    type: "scatter", mode: "lines", x: [...front.x_low, ...[...front.x_high].reverse()], y: [...front.y, ...[...front.y].reverse()],
    fill: "toself", fillcolor: colours.accent, opacity: 0.15, line: { width: 0 }, hoverinfo: "skip",
  }, {
    type: "scatter", mode: "lines", x: front.x, y: front.y, line: { shape: "hv", color: colours.modelled, width: 1.6, dash: "dot" },
    text: front.label, hovertemplate: "%{text}, by models: %{x:.3g}, %{y:+.2f} %<extra></extra>",
  }];
}

// Budgets, and the loss of known models, as lines across.
function guideLines(study, rows, x, y, colours) {
  const across = (key, value, colour) => (key === "x"
    ? { type: "line", xref: "x", yref: "paper", x0: value, x1: value, y0: 0, y1: 1, line: { color: colour, width: 1, dash: "dash" } }
    : { type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: value, y1: value, line: { color: colour, width: 1, dash: "dash" } });
  const limits = study.limits.flatMap((l) => [
    ...(l.axis === x.key ? [across("x", l.value, colours.pick)] : []), ...(l.axis === y.key ? [across("y", l.value, colours.pick)] : []),
  ]);
  const known = y.key === "loss" ? rows.filter((r) => r.reference && r.values.loss) : [];
  return [...limits, ...known.map((r) => across("y", r.values.loss[0], colours.reference))];
}

// What each budget's line is called, at its end.
function limitNames(study, x, y, colours) {
  const font = { size: 11, color: colours.pick };
  return study.limits.flatMap((l) => [
    ...(l.axis === x.key ? [{ x: l.value, y: 1, yref: "paper", text: escaped(l.text), showarrow: false, textangle: -90, xanchor: "right",
      yanchor: "top", font }] : []),
    ...(l.axis === y.key ? [{ x: 0, xref: "paper", y: l.value, text: escaped(l.text), showarrow: false, xanchor: "left",
      yanchor: "bottom", font }] : []),
  ]);
}

const limitsOf = (study, key) => study.limits.filter((l) => l.axis === key).map((l) => l.value);

function frontFigure(study, rows, chosen, width, height) {
  const colours = theme();
  const axis = (key) => study.axes.find((a) => a.key === key);
  const [x, y] = [axis(chosen.x), axis(chosen.y)];
  const placed = rows.filter((r) => r.values[x.key] && r.values[y.key]);
  const aside = rows.filter((r) => r.values[x.key] && !r.values[y.key]);
  const front = frontOf(placed.filter((r) => !r.reference), x, y);
  const onFront = new Set(front);
  const barred = placed.length > MOST_INTERVALS ? front : placed;
  const colourOf = (row) => {
    if (row.reference) return colours.reference;
    if (chosen.colour === "front") return onFront.has(row) ? colours.accent : colours.faint;
    return dimensionColour(study, chosen.colour, row[chosen.colour], colours);
  };
  const points = (members, more) => ({
    type: kindOf(members.length), mode: "markers", x: members.map((r) => r.values[x.key][0]),
    y: members.map((r) => r.values[y.key][0]), customdata: members.map((r) => r.place),
    hovertext: members.map((r) => hoverText(study, r, x, y)), hoverinfo: "text", ...more,
  });
  const data = modelledTraces(study, x, y, colours);
  if (front.length && y.better && x.better) {
    data.push({
      type: "scatter", mode: "lines", x: front.map((r) => r.values[x.key][0]), y: front.map((r) => r.values[y.key][0]),
      line: { shape: "hv", color: colours.accent, width: 1.6 }, hoverinfo: "skip",
    });
  }
  if (chosen.intervals) data.push(intervalTrace(barred, (r) => r.values[x.key], (r) => r.values[y.key], colours.faint));
  const fill = placed.map(colourOf);
  data.push(points(placed, {
    name: "shapes",
    marker: {
      size: markSize(placed.length), symbol: placed.map((r) => symbolOf(r, r.suspect)), color: fill, line: { width: 1.5, color: fill },
      opacity: placed.map((r) => (onFront.has(r) || r.reference || chosen.colour !== "front" ? 1 : 0.6)),
    },
  }));
  const named = placed.filter((r) => r.reference || (onFront.has(r) && front.length <= 12));
  const across = named.map((r) => r.values[x.key][0]);
  const all = placed.map((r) => r.values[x.key][0]);
  const middle = (Math.min(...all) + Math.max(...all)) / 2;
  data.push(points(named, {
    mode: "text", text: named.map((r) => `\u2002${escaped(r.label)}\u2002`), hoverinfo: "skip",
    textposition: across.map((at) => (at > middle ? "top left" : "top right")),
    textfont: { size: 11, color: named.map((r) => (r.reference ? colours.reference : colours.ink)) },
  }));
  const picked = placed.filter((r) => r.pick);
  data.push(points(picked, {
    marker: { symbol: picked.map((r) => (r.suspect ? "star-open" : "star")), size: 18, color: colours.pick,
      line: { width: 2, color: colours.pick } },
  }));
  data.push({ ...pinTrace(study, rows, chosen), type: "scatter", mode: "markers", hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 17, color: colours.accent, line: { width: 2.5 } } });
  const layout = baseLayout(colours);
  layout.xaxis.title.text = axisTitle(x.label, width);
  layout.yaxis.title.text = axisTitle(y.label, height);
  layout.shapes = guideLines(study, rows, x, y, colours);
  layout.annotations = limitNames(study, x, y, colours);
  if (data[0] && data[0].type === "heatmap") { // the slow shapes of a density may be beyond
    const ends = (key, more) => {
      const spans = placed.map((r) => r.values[key]).flatMap(([v, low, high]) => [low === null ? v : low, high === null ? v : high]);
      const [low, high] = [Math.min(...spans, ...more), Math.max(...spans, ...more)];
      return [low - 0.04 * (high - low), high + 0.04 * (high - low)];
    };
    layout.xaxis.range = ends(x.key, [...study.modelled.front.x, ...limitsOf(study, x.key)]);
    layout.yaxis.range = ends(y.key, [...study.modelled.front.y, ...limitsOf(study, y.key)]);
  }
  if (aside.length) { // known across only: ticks at the bottom
    data.push({
      ...points([], {}), x: aside.map((r) => r.values[x.key][0]), y: aside.map(() => 0.015), yaxis: "y2",
      customdata: aside.map((r) => r.place), hovertext: aside.map((r) => hoverText(study, r, x, y)),
      marker: { symbol: "line-ns-open", size: 10, color: aside.map((r) => (r.reference ? colours.reference : colours.faint)),
        line: { width: 1.5 } },
    });
    layout.yaxis2 = { overlaying: "y", range: [0, 1], visible: false, fixedrange: true };
  }
  layout.uirevision = `${x.key} ${y.key}`; // pinning and filtering keep the reader's zoom
  const side = (axis, low, high) => (axis.better === "low" ? low : high);
  return {
    data, layout, placed, aside, front, allBarred: barred.length === placed.length,
    unknown: rows.length - placed.length - aside.length,
    key: `front of what is shown: nothing better is known to the ${side(x, "left", "right")} and ${side(y, "below", "above")}`,
  };
}

function trainingFigure(study, width) {
  const colours = theme();
  const data = [];
  for (const [place, curve] of study.curves.entries()) {
    const colour = colours.series[place % colours.series.length];
    const final = curve.final === null ? (curve.stopped ? "stopped early" : "failed") : curve.final.toFixed(3);
    const name = `${escaped(curve.label)}: ${final}`;
    data.push({ type: "scatter", mode: "lines", name, legendgroup: curve.id, x: curve.tokens, y: curve.bits,
      line: { color: colour, width: 1.4 } });
    if (curve.final !== null) {
      data.push({ type: "scatter", mode: "markers", name, legendgroup: curve.id, showlegend: false, x: [curve.end], y: [curve.final],
        marker: { color: colour, size: 8 } });
    }
  }
  const layout = baseLayout(colours);
  layout.showlegend = true;
  layout.legend = width < 560 ? { orientation: "h", y: -0.3, font: { size: 11 } } : { font: { size: 11 } };
  layout.xaxis.title.text = "training tokens";
  layout.yaxis.title.text = "bits per byte";
  // The first steps fall from 8 bits per byte and would flatten everything else.
  const late = study.curves.flatMap((c) => [...c.bits.slice(Math.floor(c.bits.length / 10)), ...(c.final === null ? [] : [c.final])]);
  layout.yaxis.range = [Math.min(...late) - 0.05, Math.max(...late) + 0.05];
  return { data, layout };
}

function spreadFigure(study, rows, width) {
  const colours = theme();
  const stacked = width < 620;
  const layout = baseLayout(colours);
  layout.uirevision = "spread";
  const fill = rows.map((r) => (r.reference ? colours.reference : colours.accent));
  const data = ["prefill", "decode"].flatMap((key, i) => {
    const axis = study.axes.find((a) => a.key === key);
    const suffix = i ? "2" : "";
    layout[`xaxis${suffix}`] = { ...layout.xaxis, title: { text: "layers", font: { size: 13 } }, anchor: `y${suffix}` };
    layout[`yaxis${suffix}`] = { ...layout.yaxis, title: { text: axisTitle(axis.label, 340), font: { size: 13 } },
      anchor: `x${suffix}`, rangemode: "tozero" };
    const at = { xaxis: `x${suffix}`, yaxis: `y${suffix}` };
    const barred = rows.length > MOST_INTERVALS ? [] : rows;
    return [intervalTrace(barred, (r) => [r.num_hidden_layers, null, null], (r) => r.values[key], colours.faint, at), {
      type: kindOf(rows.length), mode: "markers", ...at, x: rows.map((r) => r.num_hidden_layers),
      y: rows.map((r) => r.values[key][0]), hoverinfo: "text", customdata: rows.map((r) => r.place),
      hovertext: rows.map((r) => hoverText(study, r, axis, study.axes.find((a) => a.key === "decoder"))),
      marker: { size: markSize(rows.length) - 1, symbol: rows.map((r) => symbolOf(r, r.suspect_phase[key])), color: fill,
        line: { width: 1.4, color: fill } },
    }];
  });
  const gap = stacked ? [[0.6, 1], [0, 0.4]] : [[0, 0.44], [0.56, 1]];
  layout.xaxis.domain = stacked ? [0, 1] : gap[0];
  layout.xaxis2.domain = stacked ? [0, 1] : gap[1];
  layout.yaxis.domain = stacked ? gap[0] : [0, 1];
  layout.yaxis2.domain = stacked ? gap[1] : [0, 1];
  return { data, layout };
}

function timeFigure(study, width) {
  const colours = theme();
  const words = (s) => (s < 90 ? `${s.toFixed(0)} s` : s < 5400 ? `${(s / 60).toFixed(1)} min` : `${(s / 3600).toFixed(1)} h`);
  const layout = baseLayout(colours);
  layout.xaxis.title.text = "minutes";
  layout.yaxis.autorange = "reversed";
  layout.xaxis.rangemode = "tozero";
  const narrow = width < 560; // no bar has room for its text, so all have room beside them
  if (narrow) layout.xaxis.range = [0, (2.4 / 60) * Math.max(...study.time.map((t) => t.seconds))];
  const data = [{
    type: "bar", orientation: "h", x: study.time.map((t) => t.seconds / 60), y: study.time.map((t) => wrapped(t.what, 22)),
    text: study.time.map((t) => `${words(t.seconds)}, ${t.detail}`), textposition: narrow ? "outside" : "auto", hoverinfo: "none",
    textfont: { size: narrow ? 10 : 12 },
    marker: { color: colours.accent },
  }];
  return { data, layout };
}

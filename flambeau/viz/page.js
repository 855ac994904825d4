"use strict";
// The page's program: reads the data beside it, draws the timeline on a canvas, graph and roofline as SVG, and shows for
// the chosen kernel what it was made from.  Texts from the script come in as text nodes only, never as markup.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const KINDS = { kernel: "--k0", MatMul: "--k1", Conv: "--k2", ConvTranspose: "--k2", ConvWeight: "--k2",
                Attention: "--k3", AttentionGradient: "--k3", Pool: "--k5", Sort: "--k5" };
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const kind = (k) => KINDS[k.name] || "--k4";

function element(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

async function inflate(id) {
  const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const us = (x) => x >= 1e6 ? (x / 1e6).toFixed(2) + " s" : x >= 1e3 ? (x / 1e3).toFixed(2) + " ms" : x.toFixed(1) + " \u00b5s";
const size = (x) => x >= 1e9 ? (x / 1e9).toFixed(2) + " GB" : x >= 1e6 ? (x / 1e6).toFixed(2) + " MB" : (x / 1e3).toFixed(1) + " kB";
const short = (place) => place.slice(place.lastIndexOf("/") + 1);
const share = (k) => k.us ? k.limit / k.us : 0;
const quality = (s) => s >= 0.6 ? "--good" : s >= 0.3 ? "--fair" : "--poor";

let data, kernels = [], run = 0, chosen = null, shown = "source", panel = "kernels", hits = new Set();
let order = [], sorted = { by: "total", down: true }, texts = new Map();

// ---- beginning ------------------------------------------------------------------------------------

async function begin() {
  data = await inflate("data");
  data.runs.forEach((r, number) => r.kernels.forEach((k, step) => {
    k.run = number; k.step = step; k.id = kernels.length;
    k.opNames = k.ops.map((n) => data.names[n]);
    k.total = k.us * r.count;
    k.haystack = (k.name + " " + k.opNames.join(" ") + " " + data.names[r.name] + " " +
      k.calls.map(([n, p]) => data.names[n] + " " + data.places[p]).join(" ")).toLowerCase();
    kernels.push(k);
  }));
  $("title").textContent = data.title;
  const roofs = data.roofs.map((r) => `${r.name} ${(r.rate / 1e9).toFixed(0)} GB/s`).join(", ");
  $("summary").textContent = `${us(data.seconds * 1e6)} \u00b7 ${kernels.length} kernels in ${data.runs.length} programs and operators` +
    ` \u00b7 ${data.isa}, ${data.threads} thread(s), ${(data.peak / 1e9).toFixed(0)} GFLOP/s, ${roofs}` +
    (data.dropped ? ` \u00b7 the timeline lacks the last ${data.dropped} events` : "");
  $("summary").title = $("summary").textContent;
  const wanted = data.runs.map((r, n) => [r.us, n]).sort((a, b) => b[0] - a[0]);
  for (const [, n] of wanted) {
    const r = data.runs[n];
    $("run").append(element("option", { value: n }, `${data.names[r.name]}: ${r.kernels.length} kernels, ${r.count} \u00d7 ${us(r.us / Math.max(1, r.count))}`));
  }
  $("run").prepend(element("option", { value: -1 }, "all programs and operators"));
  run = wanted.length ? wanted[0][1] : -1;
  heads();
  wire();
  showRun(run);
  showPanel("kernels");
  select(order[0] || null);
}

// ---- the table of kernels -------------------------------------------------------------------------

const COLUMNS = [
  ["#", (k) => k.id, (k) => String(k.step), "n"],
  ["operators", (k) => k.opNames.join(", "), (k) => (k.name === "kernel" ? "" : k.name + ": ") + k.opNames.join(", "), ""],
  ["time", (k) => k.us, (k) => us(k.us), "v"],
  ["total", (k) => k.total, (k) => us(k.total), "v"],
  ["of limit", share, null, "b"],
  ["GB/s", (k) => k.bytes / k.us, (k) => k.us ? (k.bytes / k.us / 1e3).toFixed(1) : "", "v"],
  ["GFLOP/s", (k) => k.work / k.us, (k) => k.work && k.us ? (k.work / k.us / 1e3).toFixed(1) : "", "v"],
];

function heads() {
  const table = $("kernels").firstElementChild;
  table.prepend(element("colgroup", {}, ...COLUMNS.map(([, , , width]) => element("col", { class: width }))));
  table.tHead.append(element("tr", {}, ...COLUMNS.map(([title]) => element("th", { scope: "col", onclick: () => {
    sorted = { by: title, down: sorted.by === title ? !sorted.down : title !== "#" && title !== "operators" };
    table1();
  } }, title))));
}

function table1() {
  const [, key] = COLUMNS.find(([title]) => title === sorted.by);
  order = kernels.filter((k) => run < 0 || k.run === run);
  order.sort((a, b) => { const x = key(a), y = key(b); return (x < y ? -1 : x > y ? 1 : a.id - b.id) * (sorted.down ? -1 : 1); });
  [...$("kernels").querySelectorAll("th")].forEach((th, i) => {
    const on = COLUMNS[i][0] === sorted.by;
    th.setAttribute("aria-sort", on ? (sorted.down ? "descending" : "ascending") : "none");
    th.textContent = COLUMNS[i][0] + (on ? (sorted.down ? " \u2193" : " \u2191") : "");
  });
  const body = $("kernels").querySelector("tbody");
  body.replaceChildren(...order.map((k) => {
    const row = element("tr", { "data-id": k.id, onclick: () => select(k) });
    for (const [title, , text] of COLUMNS) {
      if (text) row.append(element("td", title === "operators" ? { title: text(k) } : {}, text(k)));
      else row.append(limitCell(k));
    }
    return row;
  }));
  marks();
}

function limitCell(k) {
  const s = share(k);
  const bar = element("span", { class: "bar" });
  bar.style.width = Math.min(1, s) * 34 + "px";
  bar.style.background = `var(${quality(s)})`;
  return element("td", {}, (s * 100).toFixed(0) + "%", bar);
}

function marks() {
  for (const row of $("kernels").querySelectorAll("tbody tr")) {
    const id = +row.dataset.id;
    row.classList.toggle("hit", hits.has(id));
    row.classList.toggle("chosen", chosen !== null && chosen.id === id);
  }
  for (const shape of document.querySelectorAll("[data-kernel]")) {
    const id = +shape.dataset.kernel;
    shape.classList.toggle("hit", hits.has(id));
    shape.classList.toggle("miss", hits.size > 0 && !hits.has(id));
    shape.classList.toggle("chosen", chosen !== null && chosen.id === id);
  }
  for (const edge of document.querySelectorAll(".edge"))
    edge.classList.toggle("near", chosen !== null && chosen.run === run && (+edge.dataset.from === chosen.step || +edge.dataset.to === chosen.step));
}

// ---- one kernel -----------------------------------------------------------------------------------

function select(k, scroll = true) {
  chosen = k;
  marks();
  if (!k) return;
  if (run >= 0 && k.run !== run) showRun(k.run);
  const r = data.runs[k.run];
  $("name").textContent = `${data.names[r.name]}, step ${k.step}: ${k.name === "kernel" ? "" : k.name + " "}${k.opNames.join(", ")}`;
  const facts = [
    ["time", `${us(k.us)} alone; ${r.count} run(s) of its program, ${us(r.us)} in all`],
    ["limit", `${us(k.limit)} (${(share(k) * 100).toFixed(0)}% reached): ${k.work / data.peak > k.bytes / k.roof ? "arithmetic" : "memory"} bound`],
    ["moves", `${size(k.bytes)}, ${k.work.toLocaleString("en")} operations` + (k.bytes ? `, ${(k.work / k.bytes).toFixed(2)} per byte` : "")],
    ["reads", k.in.join("; ") || "nothing"],
    ["writes", k.out.join("; ") || "nothing"],
    ["ran because", `${data.names[r.reason]} at ${short(data.places[r.place])}`],
  ];
  $("facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  showText(shown);
  if (!scroll) return;
  const row = $("kernels").querySelector(`tr[data-id="${k.id}"]`);
  if (row && panel === "kernels") row.scrollIntoView({ block: "nearest" });
  if (panel === "graph") centre(k);
}

async function showText(which) {
  shown = which;
  for (const name of ["source", "loop", "llvm", "assembly"]) $("text-" + name).setAttribute("aria-selected", String(name === which));
  const k = chosen;
  if (!k) return;
  if (which === "source") return $("text").replaceChildren(...source(k));
  if (!texts.has(k.code)) texts.set(k.code, inflate("code" + k.code));
  const found = await texts.get(k.code);
  if (chosen === k && shown === which) { $("text").replaceChildren(element("pre", {}, found[which])); $("text").scrollTop = 0; }
}

function source(k) {
  const places = new Map();
  for (const [name, place, by] of k.calls) {
    const key = data.places[place];
    if (!places.has(key)) places.set(key, []);
    places.get(key).push(by < 0 ? data.names[name] : `${data.names[name]} (in ${short(data.places[by])})`);
  }
  const made = [];
  for (const [place, names] of places) {
    const at = place.lastIndexOf(":"), line = +place.slice(at + 1);
    made.push(element("h3", {}, `${place}  \u2014  ${[...new Set(names)].join(", ")}`));
    const pre = element("pre");
    for (const [number, text] of Object.entries(data.files[place.slice(0, at)] || {})) {
      if (Math.abs(number - line) > (places.size > 3 ? 2 : 6)) continue;
      const row = element("span", +number === line ? { class: "here" } : {}, element("span", { class: "no" }, String(number).padStart(5) + "  "), text);
      pre.append(row, "\n");
    }
    made.push(pre);
  }
  return made.length ? made : [element("pre", {}, "No line of the program is known for this step.")];
}

// ---- the timeline ---------------------------------------------------------------------------------

const view = { from: 0, to: 1 };
let bars = [], lanes = 1;

function draw() {
  const canvas = $("canvas"), ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  c.font = '11px system-ui, "DejaVu Sans", sans-serif'; c.textBaseline = "middle";
  const x = (t) => (t - view.from) / (view.to - view.from) * width;
  c.fillStyle = color("--back"); c.fillRect(0, 0, width, height);
  c.fillStyle = color("--dim"); c.strokeStyle = color("--line");
  const step = nice((view.to - view.from) / Math.max(2, width / 130));
  for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) {
    c.beginPath(); c.moveTo(x(t), 0); c.lineTo(x(t), height); c.stroke();
    c.fillText(us(t), x(t) + 4, 9);
  }
  const colors = Object.fromEntries(["--k0", "--k1", "--k2", "--k3", "--k4", "--k5", "--text", "--accent", "--mark", "--fair", "--python"].map((n) => [n, color(n)]));
  lanes = 1 + data.events.reduce((most, e) => Math.max(most, e[2]), 0);
  const high = Math.min(26, (height - 22) / (lanes + 1));
  bars = [];
  const ends = new Map();
  c.fillText("kernels", 4, 18 + lanes * (high + 2) + high / 2);
  const bar = (from, long, lane, fill, label, what) => {
    const left = Math.max(0, x(from)), right = Math.min(width, x(from + long));
    if (right < 0 || left > width) return;
    const y = 18 + lane * (high + 2), wide = Math.max(0.7, right - left);
    // Bars narrower than a pixel are drawn once for each pixel: a long script has very many.
    if (wide < 1) { if (ends.get(lane) >= Math.floor(left)) return; ends.set(lane, Math.floor(left)); }
    c.fillStyle = fill; c.fillRect(left, y, wide, high);
    if (what.kernel && (what.kernel === chosen || hits.has(what.kernel.id))) {
      c.strokeStyle = colors[what.kernel === chosen ? "--accent" : "--fair"]; c.lineWidth = 2; c.strokeRect(left, y, wide, high); c.lineWidth = 1;
    }
    if (wide > 34) {
      c.save(); c.beginPath(); c.rect(left, y, wide - 3, high); c.clip();
      c.fillStyle = colors["--text"]; c.fillText(label, left + 4, y + high / 2 + 0.5); c.restore();
    }
    if (wide >= 1) bars.push({ left, right: left + wide, y, high, what });
  };
  for (const e of data.events) {
    const [start, long, depth, name, place, number, first] = e;
    if (start + long < view.from || start > view.to) continue;
    const r = number >= 0 ? data.runs[number] : null;
    const label = data.names[name] + (first ? " (planned)" : "");
    bar(start, long, depth, r ? colors[r.kernels.length === 1 ? kind(r.kernels[0]) : "--mark"] : colors["--python"], label, { event: e });
    if (!r || x(start + long) - x(start) < 6) continue;
    const sum = r.kernels.reduce((s, k) => s + k.us, 0);
    if (!sum) continue;
    const scale = Math.min(1, long / sum);
    let at = start + long - sum * scale; // planning comes first
    for (const k of r.kernels) {
      bar(at, k.us * scale, lanes, colors[kind(k)], k.opNames.join(", "), { kernel: k, event: e });
      at += k.us * scale;
    }
  }
}

function nice(x) {
  const power = 10 ** Math.floor(Math.log10(x));
  return [1, 2, 5, 10].find((n) => n * power >= x) * power;
}

function zoom(factor, at = 0.5) {
  const wide = view.to - view.from, whole = data.seconds * 1e6;
  const to = Math.min(whole * 1.02, Math.max(0.5, wide * factor));
  const fixed = view.from + at * wide;
  view.from = Math.max(0, Math.min(fixed - at * to, whole * 1.02 - to)); view.to = view.from + to;
  later(draw);
}

function pan(by) {
  const wide = view.to - view.from, whole = data.seconds * 1e6 * 1.02;
  view.from = Math.max(0, Math.min(whole - wide, view.from + by * wide)); view.to = view.from + wide;
  later(draw);
}

function under(event) {
  const box = $("canvas").getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  return bars.findLast((b) => x >= b.left - 1 && x <= b.right + 1 && y >= b.y && y <= b.y + b.high);
}

function tip(event) {
  const found = under(event), box = $("tip");
  box.hidden = !found;
  if (!found) return;
  const [start, long, , name, place, number, first] = found.what.event;
  const k = found.what.kernel;
  box.textContent = k
    ? `${k.opNames.join(", ")}\n${us(k.us)}, ${(share(k) * 100).toFixed(0)}% of the machine's limit`
    : `${data.names[name]}: ${us(long)} at ${us(start)}` + (number >= 0 ? `, ${data.runs[number].kernels.length} kernel(s)` : "") +
      (first ? "\nplanned, and compiled unless the code was known" : "") + `\n${data.places[place]}`;
  const all = $("timeline").getBoundingClientRect();
  box.style.left = Math.min(event.clientX - all.left + 12, all.width - box.offsetWidth - 8) + "px";
  box.style.top = event.clientY - all.top + 16 + "px";
}

const waiting = new Set();
function later(fn) {
  if (waiting.has(fn)) return;
  waiting.add(fn);
  requestAnimationFrame(() => { waiting.delete(fn); fn(); });
}

// ---- the graph ------------------------------------------------------------------------------------

const BOX = { w: 190, h: 44, dx: 214, dy: 74 };
let camera = null, whole = null;

function graph() {
  const host = $("graph");
  if (run < 0) return host.replaceChildren(element("p", {}, "Choose one program or operator above to see its graph."));
  const r = data.runs[run];
  const mine = kernels.filter((k) => k.run === run);
  const at = r.at.map(([column, layer]) => [column * BOX.dx, layer * BOX.dy]);
  const svg = element("svg:svg", { role: "img", "aria-label": "fused graph" });
  const edges = element("svg:g");
  for (const [a, b] of r.edges) {
    const [x1, y1] = at[a], [x2, y2] = at[b], from = y1 + BOX.h / 2, to = y2 - BOX.h / 2, bend = Math.max(14, (to - from) / 2);
    edges.append(element("svg:path", { class: to - from > 3 * BOX.dy ? "edge far" : "edge", "data-from": a, "data-to": b, d: `M${x1},${from} C${x1},${from + bend} ${x2},${to - bend} ${x2},${to}` }));
  }
  svg.append(edges);
  for (const k of mine) {
    const [x, y] = at[k.step];
    const label = (k.name === "kernel" ? "" : k.name + ": ") + k.opNames.join(", ");
    const rect = element("svg:rect", { x: -BOX.w / 2, y: -BOX.h / 2, width: BOX.w, height: BOX.h });
    rect.style.fill = `var(${kind(k)})`;
    svg.append(element("svg:g", { class: "box", "data-kernel": k.id, transform: `translate(${x},${y})`, onclick: () => select(k, false) },
      rect,
      element("svg:title", {}, label),
      element("svg:text", { x: -BOX.w / 2 + 8, y: -4 }, clipped(label, 28)),
      element("svg:text", { x: -BOX.w / 2 + 8, y: 13 }, `${us(k.us)}, ${(share(k) * 100).toFixed(0)}% of limit`)));
  }
  host.replaceChildren(svg);
  const xs = at.map((p) => p[0]), ys = at.map((p) => p[1]);
  const low = Math.min(...xs) - BOX.w, high = Math.max(...xs) + BOX.w;
  const wide = Math.max(high - low, 4 * BOX.w), ratio = (host.clientHeight || 400) / (host.clientWidth || 600);
  whole = { x: (low + high) / 2 - wide / 2, y: Math.min(...ys) - BOX.h, w: wide, h: wide * ratio };
  const near = Math.min(wide, 1.15 * (host.clientWidth || 600)); // so that the labels can be read
  camera = { x: at[0][0] - near / 2, y: whole.y, w: near, h: near * ratio };
  look();
  marks();
}

const clipped = (text, most) => text.length > most ? text.slice(0, most - 1) + "\u2026" : text;

function look() {
  const svg = $("graph").querySelector("svg");
  if (svg && camera) svg.setAttribute("viewBox", `${camera.x} ${camera.y} ${camera.w} ${camera.h}`);
}

function centre(k) {
  if (k.run !== run || !camera) return;
  const [column, layer] = data.runs[run].at[k.step];
  camera.x = column * BOX.dx - camera.w / 2; camera.y = layer * BOX.dy - camera.h / 2;
  look();
}

function fit() {
  if (panel !== "graph" || !whole) return;
  const high = data.runs[run].at.reduce((m, p) => Math.max(m, p[1]), 0) * BOX.dy + 2 * BOX.h, f = Math.max(1, high / whole.h);
  camera = { x: whole.x - whole.w * (f - 1) / 2, y: whole.y, w: whole.w * f, h: whole.h * f };
  look();
}

// ---- the roofline ---------------------------------------------------------------------------------

function roofline() {
  const host = $("roofline"), width = Math.max(360, host.clientWidth), height = Math.max(260, host.clientHeight - 4);
  const edge = { l: 66, r: 18, t: 26, b: 44 };
  const mine = kernels.filter((k) => (run < 0 || k.run === run) && k.work && k.us && k.bytes);
  const svg = element("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "roofline" });
  const xs = mine.map((k) => k.work / k.bytes), ys = mine.map((k) => k.work / k.us / 1e3);
  const lo = { x: Math.min(0.05, ...xs) / 1.5, y: Math.min(1, ...ys) / 1.5 };
  const hi = { x: Math.max(100, ...xs) * 1.5, y: Math.max(data.peak / 1e9, ...ys) * 1.6 };
  const X = (v) => edge.l + Math.log(v / lo.x) / Math.log(hi.x / lo.x) * (width - edge.l - edge.r);
  const Y = (v) => height - edge.b - Math.log(v / lo.y) / Math.log(hi.y / lo.y) * (height - edge.t - edge.b);
  const power = (v) => v >= 1 ? String(v) : v.toPrecision(1);
  for (let e = Math.ceil(Math.log10(lo.x)); 10 ** e <= hi.x; e++) {
    svg.append(element("svg:line", { class: "axis", x1: X(10 ** e), x2: X(10 ** e), y1: edge.t, y2: height - edge.b }),
      element("svg:text", { class: "dim", x: X(10 ** e), y: height - edge.b + 16, "text-anchor": "middle" }, power(10 ** e)));
  }
  for (let e = Math.ceil(Math.log10(lo.y)); 10 ** e <= hi.y; e++) {
    svg.append(element("svg:line", { class: "axis", x1: edge.l, x2: width - edge.r, y1: Y(10 ** e), y2: Y(10 ** e) }),
      element("svg:text", { class: "dim", x: edge.l - 7, y: Y(10 ** e) + 4, "text-anchor": "end" }, power(10 ** e)));
  }
  svg.append(element("svg:text", { x: (edge.l + width - edge.r) / 2, y: height - 8, "text-anchor": "middle" }, "operations per byte"),
    element("svg:text", { x: 8, y: 15 }, "GFLOP/s"));
  const peak = data.peak / 1e9;
  let taken = [];
  for (const r of [...data.roofs].sort((a, b) => b.rate - a.rate)) {
    const rate = r.rate / 1e9, bend = peak / rate, from = Math.max(lo.x, lo.y / rate);
    svg.append(element("svg:path", { class: "roof", d: `M${X(from)},${Y(from * rate)} L${X(bend)},${Y(peak)} L${X(hi.x)},${Y(peak)}` }));
    let y = Y(from * rate) - 6;
    while (taken.some((t) => Math.abs(t - y) < 15)) y += 15;
    taken.push(y);
    svg.append(element("svg:text", { class: "dim", x: X(from) + 6, y }, `${r.name} ${rate.toFixed(0)} GB/s`));
  }
  svg.append(element("svg:text", { class: "dim", x: width - edge.r, y: Y(peak) - 6, "text-anchor": "end" }, `${peak.toFixed(0)} GFLOP/s`));
  const most = Math.max(1, ...mine.map((k) => k.total));
  for (const k of mine.sort((a, b) => b.total - a.total)) {
    const dot = element("svg:circle", { class: "dot", "data-kernel": k.id, cx: X(k.work / k.bytes), cy: Y(k.work / k.us / 1e3),
      r: 4 + 9 * Math.sqrt(k.total / most), onclick: () => select(k) }, element("svg:title", {}, `${k.opNames.join(", ")}: ${us(k.us)}`));
    dot.style.fill = `var(${kind(k)})`;
    svg.append(dot);
  }
  host.replaceChildren(svg);
  marks();
}

// ---- what is shown, and input ---------------------------------------------------------------------

function showRun(number) {
  run = number;
  $("run").value = number;
  table1();
  if (panel === "graph") graph();
  if (panel === "roofline") roofline();
}

function showPanel(which) {
  panel = which;
  for (const name of ["kernels", "graph", "roofline"]) {
    $(name).hidden = name !== which;
    $("tab-" + name).setAttribute("aria-selected", String(name === which));
  }
  if (which === "graph") { graph(); if (chosen) centre(chosen); }
  if (which === "roofline") roofline();
}

function find() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  hits = new Set(words.length ? kernels.filter((k) => words.every((w) => k.haystack.includes(w))).map((k) => k.id) : []);
  $("matches").textContent = words.length ? `${hits.size} found` : "";
  marks();
  later(draw);
}

function nextHit() {
  if (!hits.size) return;
  // First what is listed here, from the chosen one on, then the other programs.
  const here = order.filter((k) => hits.has(k.id)), at = order.indexOf(chosen);
  const next = (here.find((k) => order.indexOf(k) > at) ?? kernels.find((k) => hits.has(k.id) && k.run !== run) ?? here[0]).id;
  if (run >= 0 && kernels[next].run !== run) showRun(kernels[next].run);
  select(kernels[next]);
}

function move(by) {
  const at = order.indexOf(chosen);
  const next = order[Math.max(0, Math.min(order.length - 1, at + by))];
  if (next) { select(next); later(draw); }
}

function moveRun(by) {
  const options = [...$("run").options], at = options.findIndex((o) => +o.value === run);
  const next = options[Math.max(0, Math.min(options.length - 1, at + by))];
  showRun(+next.value);
  select(order[0] || null);
}

function theme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  $("theme").textContent = root.dataset.theme === "dark" ? "light" : "dark";
  draw();
}

function wire() {
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  $("theme").textContent = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  view.to = Math.max(1, data.seconds * 1e6 * 1.02);
  for (const name of ["kernels", "graph", "roofline"]) $("tab-" + name).onclick = () => showPanel(name);
  for (const name of ["source", "loop", "llvm", "assembly"]) $("text-" + name).onclick = () => showText(name);
  $("run").onchange = () => { showRun(+$("run").value); select(order[0] || null); };
  $("search").oninput = find;
  $("theme").onclick = theme;
  $("help").onclick = () => $("keys").showModal();
  const canvas = $("canvas");
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) pan((e.deltaX || e.deltaY) / canvas.clientWidth);
    else zoom(Math.exp(e.deltaY * 0.002), e.offsetX / canvas.clientWidth);
  }, { passive: false });
  let held = null;
  canvas.onpointerdown = (e) => { held = { x: e.clientX, moved: 0 }; canvas.setPointerCapture(e.pointerId); };
  canvas.onpointermove = (e) => {
    if (!held) return tip(e);
    held.moved += Math.abs(e.clientX - held.x);
    pan((held.x - e.clientX) / canvas.clientWidth);
    held.x = e.clientX;
  };
  canvas.onpointerup = (e) => {
    const found = held && held.moved < 4 ? under(e) : null;
    held = null;
    if (!found) return;
    const number = found.what.event[5];
    if (found.what.kernel) select(found.what.kernel);
    else if (number >= 0) { showRun(number); select(order[0] || null); }
    later(draw);
  };
  canvas.onpointerleave = () => { $("tip").hidden = true; };
  const area = $("graph");
  area.addEventListener("wheel", (e) => {
    if (!camera) return;
    e.preventDefault();
    const box = area.getBoundingClientRect(), f = Math.exp(e.deltaY * 0.002);
    const px = (e.clientX - box.left) / box.width, py = (e.clientY - box.top) / box.height;
    camera.x += camera.w * (1 - f) * px; camera.y += camera.h * (1 - f) * py; camera.w *= f; camera.h *= f;
    later(look);
  }, { passive: false });
  let grip = null;
  area.onpointerdown = (e) => { grip = [e.clientX, e.clientY]; };
  area.onpointermove = (e) => {
    if (!grip || !e.buttons || !camera) return;
    camera.x -= (e.clientX - grip[0]) / area.clientWidth * camera.w; camera.y -= (e.clientY - grip[1]) / area.clientHeight * camera.h;
    grip = [e.clientX, e.clientY];
    later(look);
  };
  new ResizeObserver(() => { later(draw); if (panel === "roofline") later(roofline); }).observe(document.body);
  document.addEventListener("keydown", key);
}

const KEYS = {
  "/": () => $("search").focus(), "?": () => $("keys").showModal(), t: theme, j: () => move(1), k: () => move(-1),
  ArrowDown: () => move(1), ArrowUp: () => move(-1), n: () => moveRun(1), p: () => moveRun(-1),
  1: () => showPanel("kernels"), 2: () => showPanel("graph"), 3: () => showPanel("roofline"),
  s: () => showText("source"), i: () => showText("loop"), l: () => showText("llvm"), a: () => showText("assembly"),
  "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7), ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2),
  0: () => zoom(1e9), f: fit,
};

function key(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || $("keys").open) return;
  if (e.target === $("search")) {
    if (e.key === "Enter") nextHit();
    if (e.key === "Escape") { $("search").value = ""; find(); $("search").blur(); }
    return;
  }
  if (e.target.tagName === "SELECT" || (e.target.id === "text" && e.key.startsWith("Arrow"))) return;
  if (KEYS[e.key]) { e.preventDefault(); KEYS[e.key](); }
}

begin();

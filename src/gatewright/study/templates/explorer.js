// The report's interactive curves: the numbers in #explorer-data drawn as SVG in the page's own colours. Loads nothing.
const root = document.getElementById("explorer"), find = name => root.querySelector(name), svg = find(".plot");
const select = find(".quantity"), single = find(".single"), whole = find(".whole");
const { axis, aside, quantities } = JSON.parse(document.getElementById("explorer-data").textContent);
const LEFT = 56, TOP = 10, BELOW = 40, hidden = new Set(aside);
let quantity, end, rows, place; // place: from numbers to pixels and back
let span, at = null, brush = null; // in tokens or steps: the stretch on show, where the curves are read, where a drag began

for (const part of quantities) {
  part.grid = [...new Set(part.lines.flatMap(line => line.x))].sort((a, b) => a - b);
  for (const line of part.lines) {
    const over = f => line.x.map((_, i) => f(line.values.map(seed => seed[i])));
    line.mean = over(all => all.reduce((a, b) => a + b) / all.length);
    line.low = over(all => Math.min(...all));
    line.high = over(all => Math.max(...all));
  }
}
const make = (parent, tag, attributes, text = "") => {
  const node = parent.appendChild(document.createElementNS(svg.namespaceURI, tag));
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
};
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const shortly = (count, units = ["", "\u00a0k", "\u00a0M", "\u00a0G", "\u00a0T"]) =>
  count < 1000 || !units[1] ? +count.toPrecision(4) + units[0] : shortly(count / 1000, units.slice(1));
const there = (place, text = String(place)) => axis.before + text + axis.after;
const signed = (value, text) => (quantity.unit && value > 0 ? "+" : "") + text.replace("-", "\u2212");
const reading = value => signed(value, quantity.unit ? `${value.toFixed(3)}\u00a0${quantity.unit}`
  : value && Math.abs(value) < 0.001 ? value.toPrecision(3) : Math.abs(value) < 10 ? value.toFixed(4) : value.toPrecision(5));
const shown = () => quantity.lines.filter(line => !hidden.has(line.name));
const nearest = (places, x) => places.findIndex((t, i) => !(Math.abs(places[i + 1] - x) < Math.abs(t - x)));
const ticks = (low, high, count) => { // multiples of 1, 2 or 5 times a power of ten, and the decimals they need
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw)), found = [];
  const step = power * ([1, 2, 5].find(m => m * power >= raw) ?? 10);
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(i * step);
  return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
};
const limits = () => { // of the curves on show, without the steep start
  const from = whole.checked || span[0] > 0 ? span[0] : quantity.settled * span[1];
  const inside = line => (_, i) => line.x[i] >= from && line.x[i] <= span[1];
  const seen = shown().flatMap(line => [...line.low.filter(inside(line)), ...line.high.filter(inside(line))]);
  if (!seen.length) return [0, 1];
  const low = seen.sort((a, b) => a - b)[0], high = seen.at(-1);
  const room = 0.06 * (high - low) || 0.01 * Math.abs(high) || 1;
  return [low - room, high + room];
};

function draw() {
  const width = Math.max(svg.getBoundingClientRect().width, 200), height = Math.round(clamp(0.5 * width, 260, 420));
  const [low, high] = limits(), w = width - LEFT - 14, h = height - TOP - BELOW, bottom = TOP + h;
  const x = t => LEFT + (t - span[0]) / (span[1] - span[0]) * w, y = v => bottom - (v - low) / (high - low) * h;
  svg.replaceChildren();
  svg.setAttribute("height", height);
  const [heights, decimals] = ticks(low, high, 5);
  for (const v of heights) {
    make(svg, "path", { class: quantity.unit && !v ? "zero" : "grid", d: `M${LEFT},${y(v)}h${w}` });
    make(svg, "text", { x: LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, signed(v, v.toFixed(decimals)));
  }
  for (const t of ticks(...span, width < 600 ? 3 : 6)[0])
    make(svg, "text", { x: x(t), y: bottom + 18, "text-anchor": "middle" }, shortly(t));
  make(svg, "text", { x: LEFT + w, y: height - 4, "text-anchor": "end" }, axis.label);
  const inside = make(svg, "svg", { x: LEFT, y: TOP, width: w, height: h, viewBox: [LEFT, TOP, w, h] }); // clips
  const to = (line, values) => values.map((v, i) => `${x(line.x[i]).toFixed(1)},${y(v).toFixed(1)}`);
  const curve = (line, values, kind) => make(inside, "path", { ...line.look, class: kind, d: "M" + to(line, values) });
  for (const line of shown())
    if (single.checked) for (const seed of line.values) curve(line, seed, "seed");
    else make(inside, "path", { class: "band", fill: line.look.stroke,
      d: "M" + [...to(line, line.low), ...to(line, line.high).reverse()] });
  for (const line of shown()) curve(line, line.mean, "mean");
  place = { x, y, w, width, bottom, cursor: make(inside, "g", {}) };
  read();
}

function read() { // the values at the cursor, or at the end: in the table and as dots on the curves
  const now = quantity.grid[nearest(quantity.grid, at ?? end)], said = [];
  place.cursor.replaceChildren();
  if (brush !== null) make(place.cursor, "path",
    { class: "chosen", d: `M${place.x(brush)},${TOP}V${place.bottom}H${place.x(at)}V${TOP}` });
  if (at !== null) make(place.cursor, "path", { class: "cursor", d: `M${place.x(now)},${TOP}V${place.bottom}` });
  find(".at").textContent = `At ${there(now, now.toLocaleString("en"))}`;
  find(".spread").textContent = single.checked ? "Seed: value" : "Lowest – highest seed";
  for (const { line, mean, spread } of rows) {
    const i = nearest(line.x, now), elsewhere = line.x[i] !== now;
    mean.textContent = reading(line.mean[i]) + (elsewhere ? ` (at ${shortly(line.x[i])})` : "");
    const each = line.seeds.map((seed, k) => `${seed}:\u00a0${reading(line.values[k][i])}`);
    spread.textContent = single.checked ? each.join(" · ")
      : line.seeds.length > 1 ? `${reading(line.low[i])}\u00a0–\u00a0${reading(line.high[i])}` : "one seed";
    if (hidden.has(line.name)) continue;
    said.push(`${line.name} ${mean.textContent}`);
    if (at !== null) make(place.cursor, "circle",
      { cx: place.x(line.x[i]), cy: place.y(line.mean[i]), r: 4, fill: line.look.stroke });
  }
  for (const [key, value] of Object.entries({ max: end, now, text: `${there(now)}: ${said.join(", ")}` }))
    svg.setAttribute(`aria-value${key}`, value);
}

function choose() { // another quantity: its rows, and the whole of its curves
  quantity = quantities[select.selectedIndex];
  end = quantity.grid.at(-1);
  whole.parentElement.hidden = !quantity.settled;
  find("tbody").replaceChildren();
  rows = quantity.lines.map(line => {
    const row = find("tbody").insertRow(), button = document.createElement("button");
    const press = () => { button.setAttribute("aria-pressed", !hidden.has(line.name)); };
    make(make(button, "svg", { width: 24, height: 4 }), "path", { ...line.look, d: "M0,2h24", "stroke-width": 4 });
    button.append(line.name);
    button.onclick = () => { hidden.delete(line.name) || hidden.add(line.name); press(); draw(); };
    row.appendChild(document.createElement("th")).append(button);
    press();
    return { line, mean: row.insertCell(), spread: row.insertCell() };
  });
  actions.reset();
}
const view = (low, size) => {
  const wide = clamp(size, end / 500, end), from = clamp(low, 0, end - wide);
  span = [from, from + wide];
  draw();
};
const zoom = (by, about = clamp(at ?? end, ...span)) => view(about - by * (about - span[0]), by * (span[1] - span[0]));
const shift = by => view(span[0] + by * (span[1] - span[0]), span[1] - span[0]);
const actions = { left: () => shift(-0.25), right: () => shift(0.25), in: () => zoom(0.5), out: () => zoom(2),
  reset: () => { at = brush = null; view(0, end); } };

svg.onpointerdown = svg.onpointermove = event => {
  const across = (event.clientX - svg.getBoundingClientRect().left - LEFT) / place.w;
  at = span[0] + clamp(across, 0, 1) * (span[1] - span[0]);
  if (event.button === 0 && event.pointerType === "mouse") { brush = at; svg.setPointerCapture(event.pointerId); }
  read();
};
svg.onpointerup = svg.onpointercancel = () => {
  const [from, to] = [brush ?? at, at].sort((a, b) => a - b);
  brush = null;
  if (place.x(to) - place.x(from) > 8) view(from, to - from); else read();
};
svg.onpointerleave = event => { if (event.pointerType === "mouse") { at = null; read(); } };
svg.ondblclick = actions.reset;
svg.onkeydown = event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const act = { "+": "in", "-": "out", Escape: "reset" }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || !(step || act)) return;
  event.preventDefault();
  if (act) return actions[act]();
  at = quantity.grid.at(clamp(nearest(quantity.grid, at ?? end) + step, 0, quantity.grid.length - 1));
  read();
};
for (const button of root.querySelectorAll("[data-do]")) button.onclick = actions[button.dataset.do];
[select.onchange, single.onchange, whole.onchange, root.hidden] = [choose, draw, draw, false];
choose();
new ResizeObserver(() => svg.getBoundingClientRect().width !== place.width && draw()).observe(svg);

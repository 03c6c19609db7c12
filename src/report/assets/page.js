"use strict";
// Draws the charts of the report from the JSON in #data. Every control is a native form element with a label, and
// the numbers of each chart are also a table, for screen readers.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const INK = "#1b1f24", RULE = "#e6e9ec", HEIGHT = 300;
  const format = (v) => (v == null ? "–" : Number(v.toPrecision(4)).toLocaleString("en"));
  const short = (v) => (Math.abs(v) >= 1e6 ? format(v / 1e6) + "M" : Math.abs(v) >= 1e3 ? format(v / 1e3) + "k" : format(v));
  const element = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  // Colours repeat after six lines; the lines after them are dashed.
  const seen = new Map();
  const dashOf = (line) => {
    const of = seen.get(line.colour) ?? seen.set(line.colour, []).get(line.colour);
    const name = line.label.replace(/ \(\d+\)$/, "");
    if (!of.includes(name)) of.push(name);
    return of.indexOf(name) ? [6, 4] : [];
  };

  function draw(figure, axis, name, hidden, xLabel) {
    const place = figure.querySelector(".plot");
    const columns = [axis.x], series = [{}], bands = [];
    for (const line of axis.lines) {
      const show = !hidden.has(line.label);
      if (line.low) {
        const at = columns.push(line.high, line.low) - 2;
        series.push({ show, stroke: "transparent", width: 0, points: { show: false } });
        series.push({ show, stroke: "transparent", width: 0, points: { show: false } });
        bands.push({ series: [at, at + 1], fill: line.colour + "2e" });
      }
      columns.push(line.mid);
      series.push({ show, label: line.label, stroke: line.colour, width: 2, dash: dashOf(line), points: { show: false } });
    }
    const readout = figure.querySelector(".readout");
    const options = {
      width: place.clientWidth, height: HEIGHT, legend: { show: false }, bands, series,
      scales: { x: { time: false } },
      axes: [
        { stroke: INK, grid: { stroke: RULE }, label: xLabel, labelSize: 24, values: (_, ticks) => ticks.map(short) },
        { stroke: INK, grid: { stroke: RULE }, size: 64, label: name, labelSize: 20, values: (_, ticks) => ticks.map(short) },
      ],
      cursor: { drag: { x: true, y: false } },
      hooks: {
        setCursor: [(plot) => {
          const i = plot.cursor.idx;
          if (i == null) { readout.textContent = ""; return; }
          const parts = axis.lines.filter((line) => !hidden.has(line.label)).map((line) =>
            `${line.label} ${format(line.mid[i])}` + (line.low && line.low[i] != null ? ` [${format(line.low[i])}, ${format(line.high[i])}]` : ""));
          readout.textContent = `${xLabel} ${format(axis.x[i])}: ` + parts.join("; ");
        }],
      },
    };
    place.textContent = "";
    const plot = new uPlot(options, columns, place);
    const last = axis.lines.map((line) => `${line.label} ${format(line.mid.filter((v) => v != null).at(-1))}`);
    const canvas = place.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${name} against ${xLabel}; last values: ${last.join(", ")}`);
    return plot;
  }

  function numbersOf(axis, xLabel, caption) {
    const picked = axis.x.map((_, i) => i).filter((i) => i % 8 === 0 || i === axis.x.length - 1);
    const head = element("tr", {}, element("th", { scope: "col" }, xLabel),
      ...axis.lines.map((line) => element("th", { scope: "col" }, line.label)));
    const rows = picked.map((i) => element("tr", {}, element("th", { scope: "row" }, format(axis.x[i])),
      ...axis.lines.map((line) => element("td", {}, format(line.mid[i])))));
    return element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Numbers of the chart ${caption}` },
      element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }

  function choice(label, names, changed) {
    const select = element("select", {}, ...names.map((name) => element("option", { value: name }, name)));
    select.addEventListener("change", () => changed(select.value));
    return element("label", {}, label, select);
  }

  function build(figure, metrics) {
    const hidden = new Set(), names = Object.keys(metrics);
    let metric = names[0], axis = Object.keys(metrics[metric])[0], plot = null;
    const controls = figure.querySelector(".controls");
    const details = element("details", { class: "numbers" }, element("summary", {}, "Numbers of this chart"));
    figure.append(element("div", { class: "readout" }), details);
    const redraw = () => {
      const axes = metrics[metric];
      const shown = axes[axis] ? axis : Object.keys(axes)[0];
      if (plot) plot.destroy();
      plot = draw(figure, axes[shown], metric, hidden, shown);
      if (details.children[1]) details.children[1].remove();
      details.append(numbersOf(axes[shown], shown, figure.querySelector("figcaption").textContent));
    };
    if (names.length > 1) controls.append(choice("Metric", names, (value) => { metric = value; redraw(); }));
    const axes = [...new Set(names.flatMap((name) => Object.keys(metrics[name])))];
    if (axes.length > 1) controls.append(choice("against", axes, (value) => { axis = value; redraw(); }));
    for (const line of Object.values(metrics[names[0]])[0].lines) {
      const box = element("input", { type: "checkbox" });
      box.checked = true;
      box.addEventListener("change", () => { box.checked ? hidden.delete(line.label) : hidden.add(line.label); redraw(); });
      const swatch = element("span", { class: dashOf(line).length ? "swatch dashed" : "swatch", style: `color:${line.colour}` });
      controls.append(element("label", {}, box, swatch, line.label));
    }
    redraw();
    const resize = () => plot.setSize({ width: figure.querySelector(".plot").clientWidth, height: HEIGHT });
    new ResizeObserver(() => { if (figure.querySelector(".plot").clientWidth !== plot.width) resize(); }).observe(figure);
    window.addEventListener("beforeprint", resize);
  }

  for (const figure of document.querySelectorAll(".chart")) {
    const name = figure.dataset.chart;
    build(figure, name === "profiles" ? { "share of runs": { "normalised score": data.profiles } } : data.charts[Number(name)].metrics);
  }
  // Everything that opens on demand is open in print.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.numbers)")];
    for (const each of opened) each.open = true;
  });
  window.addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
  document.documentElement.dataset.drawn = String(document.querySelectorAll(".chart canvas").length);
})();

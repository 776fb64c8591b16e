"use strict";
// Numbers in words, and the chart of a class's rates.
const words = (() => {
  const percent = (share, digits = 4) => `${+(100 * share).toPrecision(digits)} %`;
  const rateOf = (rate) => (rate == null ? "–" : rate.toFixed(3));
  const interval = (ci) => (ci && ci[0] !== null ? ` [${rateOf(ci[0])}, ${rateOf(ci[1])}]` : "");
  const short = (value) => (value === 0 ? "0" : `${+value.toPrecision(2)}`.replace("-", "−"));
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // Draws psi of a class's map, TPR and FPR over the share of the plane, and the share now.
  const drawRates = (chart, page, found, stop) => {
    const [left, right, top, bottom] = [34, 310, 8, 150];
    const curve = found.curve || { shares: [], psi: [], psi_ci: [] };
    const every = [...page.shares, ...curve.shares].map(Math.log);
    const [first, span] = [Math.min(...every), Math.max(...every) - Math.min(...every)];
    const x = (share) => (span ? left + ((right - left) * (Math.log(share) - first)) / span : (left + right) / 2);
    // psi may be negative; it is then drawn at 0.
    const y = (rate) => bottom - (bottom - top) * Math.max(rate, 0);
    const points = (shares, rates) =>
      rates.flatMap((rate, i) => (rate == null ? [] : [`${x(shares[i])},${y(rate)}`])).join(" ");
    const band = (shares, limits) => {
      const known = shares.map((share, i) => [share, limits[i]]).filter(([, ci]) => ci && ci[0] !== null);
      const low = known.map(([share, ci]) => `${x(share)},${y(ci[0])}`);
      return [...low, ...known.map(([share, ci]) => `${x(share)},${y(ci[1])}`).reverse()].join(" ");
    };
    const parts = [];
    for (const rate of [0, 0.5, 1]) {
      parts.push(svg("line", { x1: left, x2: right, y1: y(rate), y2: y(rate), class: "grid" }));
      parts.push(svg("text", { x: left - 5, y: y(rate) + 4, "text-anchor": "end" }, rate));
    }
    let last = -Infinity;
    for (const percent of [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]) {
      const at = x(percent / 100);
      if (at < left || at > right || at - last < 24) continue;
      last = at;
      parts.push(svg("text", { x: at, y: bottom + 15, "text-anchor": "middle" }, percent));
    }
    parts.push(svg("text", { x: (left + right) / 2, y: bottom + 31, "text-anchor": "middle" }, "% of the plane"));
    const line = (rate, name) => svg("line", { x1: left, x2: right, y1: y(rate), y2: y(rate), class: name });
    parts.push(line(page.threshold, "threshold"));
    const rates = { tpr: found.stops.map((stop) => stop.tpr), fpr: found.stops.map((stop) => stop.fpr) };
    if (found.curve) {
      parts.push(line(page.control, "control"));
      parts.push(svg("polygon", { points: band(curve.shares, curve.psi_ci), class: "band" }));
    }
    for (const rate of ["tpr", "fpr"]) parts.push(svg("polyline", { points: points(page.shares, rates[rate]), class: rate }));
    if (found.curve) parts.push(svg("polyline", { points: points(curve.shares, curve.psi), class: "psi" }));
    const now = x(page.shares[stop]);
    parts.push(svg("line", { x1: now, x2: now, y1: top, y2: bottom, class: "now" }));
    for (const rate of ["tpr", "fpr"]) {
      const value = rates[rate][stop];
      if (value != null) parts.push(svg("circle", { cx: now, cy: y(value), r: 4, class: rate }));
    }
    chart.replaceChildren(...parts);
    const listed = found.stops.map((stop, i) => `${percent(page.shares[i])}: ${rateOf(stop.tpr)}, ${rateOf(stop.fpr)}`);
    const psi = curve.shares.map((share, i) => `${percent(share)}: ${rateOf(curve.psi[i])}`);
    const words = psi.length ? ` psi: ${psi.join("; ")}` : "";
    chart.setAttribute("aria-label", `TPR and FPR over the share of the plane: ${listed.join("; ")}.${words}`);
  };

  // Fills an element with bars: rows are [name, {class: value in [0, 1]}].
  const drawBars = (element, rows, inWords) => {
    const add = (tag, className, textContent) => element.appendChild(Object.assign(document.createElement(tag), { className, textContent }));
    element.replaceChildren();
    for (const [name, values] of rows) {
      add("b", "", name);
      for (const [kind, value] of Object.entries(values)) {
        add("i", kind, "").style.width = `${100 * Math.max(value, 0)}%`;
        add("span", kind, inWords(value));
      }
    }
  };

  return { drawBars, percent, rateOf, interval, short, signed, drawRates };
})();

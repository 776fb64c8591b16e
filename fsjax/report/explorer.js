"use strict";
// Shows a class at a share of the plane. fsjax computed all values; the script fetches only files beside the page, and
// treats class names as text alone.
(() => {
  const page = JSON.parse(document.getElementById("explorer-data").textContent);
  const root = document.getElementById("explorer");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const known = new Map();
  const hint = "Point at a frequency, or move with the arrow keys, to read its values.";
  const state = { label: 0, stop: page.headline, plane: 0, cursor: null };

  // ---- classes ----

  window.fsjaxClass = (label, found) => known.set(label, found);

  const load = (label) =>
    new Promise((resolve, reject) => {
      if (page.classes) known.set(label, page.classes[label]);
      if (known.has(label)) return resolve(known.get(label));
      const file = `data/class-${String(label).padStart(5, "0")}.js`;
      const script = document.createElement("script");
      script.src = file;
      script.onload = () => (known.has(label) ? resolve(known.get(label)) : reject(new Error(`${file} is damaged`)));
      script.onerror = () => reject(new Error(`${file} is not beside this page`));
      document.head.append(script);
    });

  const pixelsOf = async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };

  // Decodes the pictures of a class once.
  const decoded = async (found) => {
    found.decoded ??= (async () => {
      const masks = await pixelsOf(found.masks);
      const bits = new Uint32Array(masks.width * masks.height);
      for (let i = 0; i < bits.length; i++) {
        bits[i] = masks.data[4 * i] | (masks.data[4 * i + 1] << 8) | (masks.data[4 * i + 2] << 16);
      }
      const planes = await Promise.all(found.planes.map((plane) => pixelsOf(plane.image)));
      return { bits, planes };
    })();
    return found.decoded;
  };

  // ---- drawing ----

  const colour = (hex, level) => [0, 2, 4].map((at) => parseInt(hex.substr(6 * level + at, 2), 16));

  const paint = (canvas, width, height, at) => {
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) image.data.set([...at(i), 255], 4 * i);
    context.putImageData(image, 0, 0);
  };

  const drawMask = ({ bits }) => {
    const bit = 1 << state.stop;
    paint(part("mask"), page.width, page.height, (i) => (bits[i] & bit ? page.kept : [255, 255, 255]));
  };

  const drawPlane = (found, { planes }) => {
    const image = planes[state.plane];
    const { colours, meaning } = page.planes[state.plane];
    const plane = found.planes[state.plane];
    const table = Array.from({ length: 255 }, (_, level) => colour(page.colours[colours], level));
    paint(part("plane"), image.width, image.height, (i) => table[image.data[4 * i]] ?? [221, 221, 221]);
    paint(part("bar"), 1, 255, (i) => table[254 - i]);
    [254, 127, 0].forEach((level, i) => (part("bar-ticks").children[i].textContent = short(plane.levels[level])));
    part("meaning").textContent = meaning;
    // Blocks of positions may jut out of the plane.
    const zero = plane.dc.map((at) => at * plane.side);
    extend(part("plane"), zero, [image.height, image.width].map((length) => length * plane.side));
  };

  // Sets the place of DC and the extent of a canvas, in positions as [rows, columns], and marks at -1/2, 0 and 1/2
  // cycles per pixel.
  const extend = (canvas, zero, size) => {
    canvas.extent = { zero, size };
    const sides = [page.height, page.width];
    ["y", "x"].forEach((axis, i) =>
      canvas.closest(".frame").querySelectorAll(`.${axis} span`).forEach((mark, at) => {
        const place = (zero[i] + 0.5 + (at / 2 - 0.5) * sides[i]) / size[i];
        mark.style[i ? "left" : "top"] = `${(100 * Math.min(Math.max(place, 0), 1)).toFixed(2)}%`;
      }),
    );
  };

  const svg = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    if (text !== undefined) element.textContent = text;
    return element;
  };

  const drawRates = (found) => {
    const chart = part("rates");
    const [left, right, top, bottom] = [34, 310, 8, 150];
    const curve = found.curve || { shares: [], psi: [], psi_ci: [] };
    const every = [...page.shares, ...curve.shares].map(Math.log);
    const [first, span] = [Math.min(...every), Math.max(...every) - Math.min(...every)];
    const x = (share) => (span ? left + ((right - left) * (Math.log(share) - first)) / span : (left + right) / 2);
    // psi may be negative; it is then drawn at 0.
    const y = (rate) => bottom - (bottom - top) * Math.max(rate, 0);
    const points = (shares, rates) =>
      rates.flatMap((rate, i) => (rate === null ? [] : [`${x(shares[i])},${y(rate)}`])).join(" ");
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
    const now = x(page.shares[state.stop]);
    parts.push(svg("line", { x1: now, x2: now, y1: top, y2: bottom, class: "now" }));
    for (const rate of ["tpr", "fpr"]) {
      const value = rates[rate][state.stop];
      if (value !== null) parts.push(svg("circle", { cx: now, cy: y(value), r: 4, class: rate }));
    }
    chart.replaceChildren(...parts);
    const listed = found.stops.map((stop, i) => `${percent(page.shares[i])}: ${rateOf(stop.tpr)}, ${rateOf(stop.fpr)}`);
    const psi = curve.shares.map((share, i) => `${percent(share)}: ${rateOf(curve.psi[i])}`);
    const words = psi.length ? ` psi: ${psi.join("; ")}` : "";
    chart.setAttribute("aria-label", `TPR and FPR over the share of the plane: ${listed.join("; ")}.${words}`);
  };

  // ---- words ----

  const percent = (share) => `${+(100 * share).toPrecision(4)} %`;
  const rateOf = (rate) => (rate === null || rate === undefined ? "–" : rate.toFixed(3));
  const interval = (ci) => (ci && ci[0] !== null ? ` [${rateOf(ci[0])}, ${rateOf(ci[1])}]` : "");
  const short = (value) => (value === 0 ? "0" : `${+value.toPrecision(2)}`.replace("-", "−"));
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

  const describe = (found) => {
    const [share, stop] = [page.shares[state.stop], found.stops[state.stop]];
    const whole = (page.width * page.height).toLocaleString("en");
    const kept = stop.positions.toLocaleString("en");
    part("share").textContent = percent(share);
    part("slider").setAttribute("aria-valuetext", `${percent(share)} of the plane`);
    part("kept").textContent = `${kept} of ${whole} positions`;
    part("tpr").textContent = rateOf(stop.tpr) + interval(stop.tpr_ci);
    part("fpr").textContent = rateOf(stop.fpr) + interval(stop.fpr_ci);
    part("images").textContent = `${stop.images} test images of the class, ${stop.others} of others`;
    part("mask").setAttribute("aria-label", `The map: ${kept} of ${whole} positions kept, DC in the middle.`);
    part("sentence").textContent = found.sentence;
    part("name").textContent = page.names[state.label];
    const predictions = found.predictions.map(([name, count]) => `${name} ${count}`).join(", ");
    part("predictions").textContent = predictions || "no test image of this class";
    const fill = (row, [mask, psi]) => {
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: mask }));
      row.append(Object.assign(document.createElement("td"), { textContent: rateOf(psi) }));
      const meter = Object.assign(document.createElement("meter"), { min: 0, max: 1, value: psi });
      meter.setAttribute("aria-hidden", "true");
      row.append(document.createElement("td"));
      row.lastChild.append(meter);
      return row;
    };
    part("at").textContent = percent(found.at);
    part("masks_psi").replaceChildren(...found.masks_psi.map((row) => fill(document.createElement("tr"), row)));
    part("masks_psi").closest("div").hidden = !found.masks_psi.length;
    samples(found, share);
  };

  const samples = (found, share) => {
    part("samples").hidden = !found.samples;
    if (!found.samples) return;
    const { count, originals, filtered, pixels } = found.samples;
    const [above, below] = [part("originals"), part("filtered")];
    for (const image of [above, below]) image.classList.toggle("coarse", pixels <= 96);
    const many = `${count} test ${count === 1 ? "image" : "images"} of ${page.names[state.label]}`;
    [above.src, above.alt] = [originals, `${many}.`];
    [below.src, below.alt] = [filtered[state.stop], `${many}, filtered to ${percent(share)} of the plane.`];
  };

  // Reads out the frequency under the pointer or the arrow keys, and marks it on both canvases.
  const readOut = (found, { bits, planes }) => {
    const marks = root.querySelectorAll(".cursor");
    marks.forEach((mark) => (mark.hidden = !state.cursor));
    if (!state.cursor) return (part("read-out").textContent = hint);
    const [row, column] = state.cursor;
    const words = [`(${signed((column - page.dc[1]) / page.width)}, ${signed((row - page.dc[0]) / page.height)}) cycles/pixel`];
    if (page.planes.length) {
      const [plane, image] = [found.planes[state.plane], planes[state.plane]];
      const at = [row, column].map((place, axis) => plane.dc[axis] + Math.floor((place - page.dc[axis]) / plane.side));
      const level = image.data[4 * (at[0] * image.width + at[1])];
      words.push(`${page.planes[state.plane].name} ${level > 254 ? "none" : `≈ ${short(plane.levels[level])}`}`);
    }
    const kept = page.shares.filter((_, i) => bits[row * page.width + column] & (1 << i));
    const nested = kept.length && kept[0] === page.shares.at(-kept.length);
    words.push(nested ? `kept from ${percent(kept[0])} on` : `kept at ${kept.map(percent).join(", ") || "none of these shares"}`);
    part("read-out").textContent = words.join(", ");
    marks.forEach((mark) => {
      const { zero, size } = mark.parentElement.querySelector("canvas").extent;
      mark.style.top = `${(100 * (row - page.dc[0] + zero[0] + 0.5)) / size[0]}%`;
      mark.style.left = `${(100 * (column - page.dc[1] + zero[1] + 0.5)) / size[1]}%`;
    });
  };

  // ---- what the user does ----

  let turn = 0;
  const show = async () => {
    const mine = ++turn;
    try {
      const found = await load(state.label);
      const pictures = await decoded(found);
      if (mine !== turn) return; // the user chose another class or share meanwhile
      part("trouble").textContent = "";
      part("class").value = state.label;
      part("slider").value = state.stop;
      drawMask(pictures);
      if (page.planes.length) drawPlane(found, pictures);
      drawRates(found);
      describe(found);
      readOut(found, pictures);
      root.dataset.shown = `${state.label} ${state.stop} ${state.plane}`;
    } catch (error) {
      part("trouble").textContent = `This class cannot be shown: ${error.message}.`;
    }
  };

  const change = (what) => {
    Object.assign(state, what);
    show();
  };

  const select = (label) => {
    state.label = (label + page.names.length) % page.names.length;
    history.replaceState(null, "", `#class-${state.label}`);
    show();
  };

  const fromAddress = () => {
    const match = /^#class-(\d+)$/.exec(location.hash);
    if (!match || Number(match[1]) >= page.names.length) return;
    change({ label: Number(match[1]) });
    root.scrollIntoView();
  };

  const clamp = (value, most) => Math.min(Math.max(value, 0), most - 1);
  const point = (row, column) =>
    change({ cursor: [clamp(Math.floor(row), page.height), clamp(Math.floor(column), page.width)] });

  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  for (const canvas of [part("plane"), part("mask")].filter(Boolean)) {
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const { zero, size } = canvas.extent;
      const row = ((event.clientY - box.top) / box.height) * size[0] - zero[0];
      point(row + page.dc[0], ((event.clientX - box.left) / box.width) * size[1] - zero[1] + page.dc[1]);
    });
    canvas.addEventListener("pointerleave", () => change({ cursor: null }));
    canvas.addEventListener("blur", () => change({ cursor: null }));
    canvas.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      const [row, column] = state.cursor ?? page.dc;
      point(row + step[0], column + step[1]);
    });
  }
  part("slider").addEventListener("input", (event) => change({ stop: Number(event.target.value) }));
  part("class").addEventListener("change", (event) => select(Number(event.target.value)));
  part("previous").addEventListener("click", () => select(state.label - 1));
  part("next").addEventListener("click", () => select(state.label + 1));
  part("which")?.addEventListener("change", (event) => change({ plane: Number(event.target.value) }));
  window.addEventListener("hashchange", fromAddress);

  part("class").append(...page.names.map((name, label) => new Option(name, label)));
  extend(part("mask"), page.dc, [page.height, page.width]);
  root.hidden = false;
  fromAddress();
  show();
})();

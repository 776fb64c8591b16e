"use strict";
// Shows a class at a share of the plane. fsjax computed all values, and the script filters pictures; it fetches only
// files beside the page, and treats class names as text alone.
(() => {
  const page = JSON.parse(document.getElementById("explorer-data").textContent);
  const root = document.getElementById("explorer");
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const { pixelsOf, paint, place, move, split, filter, map, drawPictures } = pictures;
  const { drawBars, percent, rateOf, interval, short, signed, drawRates } = words;
  const known = new Map();
  const hint = "Point at a frequency, or move with the arrow keys, to read its values.";
  const state = { label: 0, stop: null, plane: 0, cursor: null };

  // ---- classes ----

  window.fsjaxClass = (label, found) => known.set(label, found);

  const load = (label) =>
    new Promise((resolve, reject) => {
      if (page.classes) known.set(label, page.classes[label]);
      if (known.has(label)) return resolve(known.get(label));
      const file = `${root.dataset.folder}class-${String(label).padStart(5, "0")}.js`;
      const script = document.createElement("script");
      script.src = file;
      script.onload = () => (known.has(label) ? resolve(known.get(label)) : reject(new Error(`${file} is damaged`)));
      script.onerror = () => reject(new Error(`${file} is not beside this page`));
      document.head.append(script);
    });

  // Decodes the pictures of a class once.
  const decoded = async (found) => {
    found.decoded ??= (async () => {
      const masks = await pixelsOf(found.masks);
      const bits = new Uint32Array(masks.width * masks.height);
      for (let i = 0; i < bits.length; i++) {
        bits[i] = masks.data[4 * i] | (masks.data[4 * i + 1] << 8) | (masks.data[4 * i + 2] << 16);
      }
      const planes = await Promise.all(found.planes.map((plane) => pixelsOf(plane.image)));
      const samples = found.samples && split(await pixelsOf(found.samples.originals), found.samples.count);
      return { bits, planes, samples, grafts: await grafts(found) };
    })();
    return found.decoded;
  };

  // ---- drawing ----

  const colour = (hex, level) => [0, 2, 4].map((at) => parseInt(hex.substr(6 * level + at, 2), 16));

  const drawMask = ({ bits }) => {
    const bit = 1 << state.stop;
    paint(part("mask"), page.width, page.height, (i) => (bits[i] & bit ? page.kept : [0, 0, 0, 0]));
  };

  const drawPlane = (found, { planes }) => {
    const image = planes[state.plane];
    const { colours, meaning, levels } = page.planes[state.plane];
    const plane = found.planes[state.plane];
    const table = Array.from({ length: 255 }, (_, level) => colour(page.colours[colours], level));
    paint(part("plane"), image.width, image.height, (i) => table[image.data[4 * i]] ?? [221, 221, 221]);
    paint(part("bar"), 1, 255, (i) => table[254 - i]);
    [254, 127, 0].forEach((level, i) => (part("bar-ticks").children[i].textContent = short(levels[level] * plane.top)));
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

  // ---- words ----

  const describe = (found) => {
    const [share, stop] = [page.shares[state.stop], found.stops[state.stop]];
    const whole = (page.width * page.height).toLocaleString("en");
    const kept = stop.positions.toLocaleString("en");
    part("share").textContent = percent(share);
    part("slider").setAttribute("aria-valuetext", `${percent(share)} of the plane`);
    part("kept").textContent = `${kept} of ${whole} positions`;
    part("tpr").textContent = rateOf(stop.tpr) + interval(stop.tpr_ci);
    part("fpr").textContent = rateOf(stop.fpr) + interval(stop.fpr_ci);
    const on = `, on ${stop.images} test images of the class, ${stop.others} of others`;
    part("images").textContent = stop.images === undefined ? ", not measured at this share" : on;
    part("mask").setAttribute("aria-label", `The map: ${kept} of ${whole} positions kept, DC in the middle.`);
    part("sentence").textContent = found.sentence;
    part("verdict-share").disabled = state.stop === found.stop;
    part("name").textContent = page.names[state.label];
    const predictions = found.predictions.map(([name, count]) => `${name} ${count}`).join(", ");
    part("predictions").textContent = predictions || "no test image of this class";
    part("at").textContent = percent(found.at);
    drawBars(part("masks_psi"), found.masks_psi.map(([mask, psi]) => [mask, { psi }]), rateOf);
    part("masks_psi").closest("div").hidden = !found.masks_psi.length;
  };

  // ---- pictures at a share ----

  // Keeps the frequencies of the class's map. A picture smaller than the plane lacks the highest ones.
  const filtered = (picture, bits) => {
    // The conjugate of (u, v), v from 0, lies left of DC or on it, where every plane has it.
    const conjugate = (u, v) => ((page.dc[0] - u) % page.height) * page.width + page.dc[1] - v;
    return filter(picture, (u, v) => bits[conjugate(u, v)] & (1 << state.stop));
  };

  const samples = (found, strip, bits) => {
    part("samples").hidden = !strip;
    if (!strip) return;
    const [above, below] = [part("originals"), part("filtered")];
    for (const image of [above, below]) image.classList.toggle("coarse", found.samples.pixels <= 96);
    const many = `${strip.length} test ${strip.length === 1 ? "image" : "images"} of ${page.names[state.label]}`;
    [above.src, above.alt] = [found.samples.originals, `${many}.`];
    below.setAttribute("aria-label", `${many}, filtered to ${percent(page.shares[state.stop])} of the plane.`);
    const [less, more] = [-1, 1].map((sign) => (value, i) => value + sign * page.mean[i % 3]);
    drawPictures(below, strip.map((picture) => map(filtered(map(picture, less), bits), more)));
  };

  // Reads the pictures of a class's grafts from the gallery above.
  const grafts = (found) => {
    const shown = [...document.querySelectorAll(`#grafts-${found.label} section`)].slice(0, found.answers.length);
    return Promise.all(
      shown.map(async (pair) => {
        const images = await Promise.all([...pair.querySelectorAll("img")].slice(0, 2).map((image) => pixelsOf(image.src)));
        return { pair, images: images.map((image) => split(image)[0]) };
      }),
    );
  };

  const drawGrafts = (found, pairs, bits) => {
    part("grafts").hidden = !pairs.length;
    const drawn = pairs.map(({ pair, images: [recipient, donor] }, n) => {
      const copy = pair.cloneNode(true);
      const [, , grafted, result] = copy.querySelectorAll("figure");
      const change = filtered(map(donor, (value, i) => value - recipient.values[i]), bits);
      const [low, high] = [Math.min, Math.max].map((best) => change.values.reduce((a, b) => best(a, b)));
      const shown = [
        [grafted, map(change, (value) => (high - low > 1e-6 ? (value - low) / (high - low) : 0.5))],
        [result, map(change, (value, i) => recipient.values[i] + value)],
      ];
      for (const [figure, picture] of shown) {
        const [canvas, image] = [document.createElement("canvas"), figure.querySelector("img")];
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", image.alt.split(";")[0]);
        drawPictures(canvas, [picture]);
        image.replaceWith(canvas);
      }
      const { hit, ...choices } = found.answers[n][state.stop];
      copy.querySelector("h4").textContent = `This graft ${hit ? "succeeds" : "fails"}`;
      const words = Object.entries(choices).flatMap(([place, textContent]) =>
        textContent ? [Object.assign(document.createElement(place === hit ? "strong" : "span"), { textContent })] : [],
      );
      result.querySelector("figcaption").replaceChildren(...words);
      return copy;
    });
    part("grafts").querySelector("div").replaceChildren(...drawn);
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
      const { name, levels } = page.planes[state.plane];
      const at = [row, column].map((place, axis) => plane.dc[axis] + Math.floor((place - page.dc[axis]) / plane.side));
      const level = image.data[4 * (at[0] * image.width + at[1])];
      words.push(`${name} ${level > 254 ? "none" : `≈ ${short(levels[level] * plane.top)}`}`);
    }
    const kept = page.shares.filter((_, i) => bits[row * page.width + column] & (1 << i));
    const nested = kept.length && kept[0] === page.shares.at(-kept.length);
    words.push(nested ? `kept from ${percent(kept[0])} on` : `kept at ${kept.map((share) => percent(share)).join(", ") || "none of these shares"}`);
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
      found.label = state.label;
      const pictures = await decoded(found);
      if (mine !== turn) return; // the user chose another class or share meanwhile
      state.stop ??= found.stop;
      part("trouble").textContent = "";
      part("class").value = state.label;
      part("slider").value = state.stop;
      drawMask(pictures);
      if (page.planes.length) drawPlane(found, pictures);
      drawRates(part("rates"), page, found, state.stop);
      describe(found);
      // Filtering pictures takes too long for each move of the pointer.
      if (root.dataset.pictured !== `${state.label} ${state.stop}`) {
        samples(found, pictures.samples, pictures.bits);
        drawGrafts(found, pictures.grafts, pictures.bits);
        root.dataset.pictured = `${state.label} ${state.stop}`;
      }
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
    change({ label: (label + page.names.length) % page.names.length, stop: null });
    history.replaceState(null, "", `#class-${state.label}`);
  };

  const fromAddress = () => {
    const match = /^#class-(\d+)$/.exec(location.hash);
    if (!match || Number(match[1]) >= page.names.length) return;
    change({ label: Number(match[1]), stop: null });
    root.scrollIntoView();
  };

  const clamp = (value, most) => Math.min(Math.max(value, 0), most - 1);
  const point = (row, column) =>
    change({ cursor: [clamp(Math.floor(row), page.height), clamp(Math.floor(column), page.width)] });

  for (const canvas of [part("plane"), part("mask")].filter(Boolean)) {
    canvas.addEventListener("pointermove", (event) => {
      const { zero, size } = canvas.extent;
      point(...place(event).map((share, axis) => share * size[axis] - zero[axis] + page.dc[axis]));
    });
    canvas.addEventListener("pointerleave", () => change({ cursor: null }));
    canvas.addEventListener("blur", () => change({ cursor: null }));
    canvas.addEventListener("keydown", (event) => {
      if (event.key !== " ") move(event, state.cursor ?? page.dc, (cursor) => point(...cursor));
    });
  }
  part("slider").addEventListener("input", (event) => change({ stop: Number(event.target.value) }));
  part("verdict-share").addEventListener("click", () => change({ stop: null }));
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

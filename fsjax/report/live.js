"use strict";
// Edits frequencies of an image on the plane. The server computes every number and keeps nothing of a tab: the address
// holds the state, but for dropped images, which the tab keeps.
(() => {
  const [{ pixelsOf, paint, place, move }, percent] = [pictures, (share) => words.percent(share, 2)];
  const at = (id) => document.getElementById(id);
  const trouble = (error) => (at("trouble").textContent = error.message);
  addEventListener("unhandledrejection", (event) => (event.preventDefault(), trouble(event.reason)));
  const ask = async (route, body) => {
    const reply = await fetch(route + location.search, { method: "POST", body: JSON.stringify(body) }).catch(() => null);
    if (!reply) throw new Error("The server has ended: start it again.");
    const content = await reply.json();
    if (content.error) throw new Error(content.error);
    return content;
  };

  const known = JSON.parse(at("known").textContent);
  const sides = known.sides;
  const [height, width] = sides;
  const state = { recipient: "0.0", donor: "1.0", operation: "graft", mask: "", map: "", share: known.share, amplitude: 16 };
  const undo = [];
  const painted = new Uint8Array(height * width);
  let [shown, wanted, below, cursor, last] = [0, 0, null, [height >> 1, width >> 1], null];
  const limit = (value, axis) => Math.min(Math.max(value, 0), sides[axis] - 1);

  // ---- the state and its address ----

  const image = (text) => {
    const [label, nth] = text.split(".").map(Number);
    if (!text.startsWith("file-")) return { class: label, nth };
    const file = sessionStorage.getItem(text);
    if (!file) throw new Error("The dropped image is not in this tab: drop it again.");
    return { file };
  };
  const request = () => ({
    recipient: image(state.recipient),
    donor: image(state.donor),
    operation: state.operation,
    amplitude: Number(state.amplitude),
    ...(state.map === "" ? { mask: state.mask } : { map: [Number(state.map), Number(state.share)] }),
  });
  // The lengths of runs of unpainted and painted positions in turn, in base 36.
  const encode = () => {
    const edges = [...painted.keys(), painted.length].filter((i) => painted[i] !== (painted[i - 1] ?? 0));
    return edges.map((edge, n) => (edge - (edges[n - 1] ?? 0)).toString(36)).join(".");
  };
  const decode = (text) => {
    painted.fill(0);
    text.split(".").reduce((start, run, n) => {
      const end = start + parseInt(run || "0", 36);
      if (n % 2) painted.fill(1, start, end);
      return end;
    }, 0);
    draw();
  };
  const keep = () => undo.push({ ...state, mask: encode() }) > 500 && undo.shift();
  const change = (values) => (Object.assign(state, values), follow());

  // ---- drawing ----

  const draw = () => {
    const marked = at("plane").matches(":focus-visible") ? cursor[0] * width + cursor[1] : -1;
    paint(at("plane"), width, height, (i) => {
      const grey = below ? below[4 * i] * 0.8 : 40;
      return i === marked ? [120, 220, 255] : painted[i] ? [255, 110 + grey / 4, 40] : [grey, grey, grey];
    });
  };
  const controls = () => {
    for (const who of ["recipient", "donor"]) {
      const [label, nth] = state[who].split(".");
      if (nth) [at(`${who}-class`).value, at(`${who}-nth`).value] = [label, nth];
      at(`${who}-nth`).max = (known.counts[label] ?? 1) - 1;
    }
    for (const name of ["operation", "amplitude", "map"]) at(name).value = state[name];
    at("share").value = Math.log10(state.share);
    at("share").disabled = state.map === "";
    at("height").hidden = state.operation !== "wave";
    at("donor").hidden = at("donor-row").hidden = !known.take_a_donor.includes(state.operation);
    at("undo").disabled = !undo.length;
    const said = { share: percent(state.share), amplitude: state.amplitude, brush: 2 * at("brush").value + 1 };
    for (const [name, text] of Object.entries(said)) at(name).nextElementSibling.textContent = text;
  };
  const bars = (before, after) => {
    const most = (label) => Math.max(before[label], after[label]);
    const order = [...before.keys()].sort((a, b) => most(b) - most(a)).slice(0, 6);
    words.drawBars(
      at("bars"),
      order.map((label) => [known.outputs[label], { before: before[label], after: after[label] }]),
      (value) => `${(100 * value).toFixed(1)} %`,
    );
  };
  const others = (images, target) => {
    const count = (test) => images.filter(test).length;
    at("captures").textContent =
      `The same edit captures ${count((one) => one.after === target)} of ${images.length} other images for ` +
      `${known.outputs[target]} (${count((one) => one.before === target)} before it), and changes the class of ` +
      `${count((one) => one.before !== one.after)}.`;
    const shown = images.map(({ picture, before, after }) => {
      const title = `${known.outputs[before]} → ${known.outputs[after]}`;
      return Object.assign(new Image(), { src: picture, alt: title, title, className: after === target ? "captured" : "" });
    });
    at("others").replaceChildren(...shown);
  };
  const save = () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1240, height: 400 });
    const context = canvas.getContext("2d");
    Object.assign(context, { fillStyle: "#fff", font: "15px sans-serif", imageSmoothingEnabled: false });
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = "#000";
    const figures = [...document.querySelectorAll(".pictures figure:not([hidden])")].map((figure) => [...figure.children]);
    [...figures, [at("plane"), at("painted")]].forEach(([picture, caption], n) => {
      context.drawImage(picture, 10 + 245 * n, 10, 235, (235 * height) / width);
      context.fillText(caption.textContent, 10 + 245 * n, 30 + (235 * height) / width, 235);
    });
    ["result", "captures", "bars"].forEach((id, n) => {
      context.fillText(at(id).innerText.replaceAll("\n", "  "), 10, 330 + 28 * n, 1220);
    });
    Object.assign(document.createElement("a"), { href: canvas.toDataURL(), download: `${document.title}.png` }).click();
  };

  // ---- asking ----

  // One request at a time, always about the newest state; the other images follow in groups.
  const follow = async () => {
    controls();
    document.body.dataset.wanted = ++wanted;
    if (wanted - shown > 1) return;
    while (shown < wanted) {
      const now = wanted;
      const given = new URLSearchParams(Object.entries(state).filter(([, value]) => value !== ""));
      history.replaceState(null, "", `${location.pathname}${location.search}#${given}`);
      at("trouble").textContent = "";
      await answer(now).catch(trouble);
      shown = now;
    }
    document.body.dataset.shown = shown;
  };
  const answer = async (now) => {
    const asked = request();
    const got = await ask("answer", asked);
    if (state.map !== "" && wanted === now) decode(got.mask);
    [at("edited").src, at("difference").src] = [got.picture, got.difference];
    at("clipped").textContent = `edited, ${percent(got.clipped)} beyond black or white`;
    at("gain").textContent = `difference × ${got.gain.toPrecision(2)}`;
    at("painted").textContent = `${got.positions} of ${height * width} positions, ${percent(got.positions / height / width)}`;
    const [was, is] = [got.before, got.after].map((each) => known.outputs[each.indexOf(Math.max(...each))]);
    at("result").textContent = was === is ? `The model still says ${is}.` : `${was} has become ${is}.`;
    bars(got.before, got.after);
    const images = [];
    for (let group = 0; group < known.groups && wanted === now; group++) {
      images.push(...(await ask("others", { ...asked, group, target: got.target })).images);
      if (wanted === now) others(images, got.target);
    }
  };
  const open = async (who) => {
    const got = await ask("image", { image: image(state[who]) });
    const [picture, caption] = at(who).children;
    picture.src = got.picture;
    caption.textContent = `${who === "donor" ? "donor" : "image"}: ${known.classes[state[who].split(".")[0]] ?? "your image"}, predicted ${known.outputs[got.predicted]}`;
    if (who === "donor") return;
    below = (await pixelsOf(got.plane)).data;
    draw();
  };
  const choose = async (who, text) => (change({ [who]: text }), await open(who));
  const drop = async (who, file) => {
    if (!file) return;
    const reader = new FileReader();
    await new Promise((read) => ((reader.onloadend = read), reader.readAsDataURL(file)));
    const { picture } = await ask("image", { image: { file: reader.result?.split(",")[1] ?? "" } });
    const key = `file-${Date.now().toString(36)}`;
    sessionStorage.setItem(key, picture.split(",")[1]);
    await choose(who, key);
  };

  // ---- the hand ----

  const dab = (row, column) => {
    const radius = Number(at("brush").value);
    for (let r = row - radius; r <= row + radius; r++) {
      for (let c = column - radius; c <= column + radius; c++) {
        const outside = (r - row) ** 2 + (c - column) ** 2 > radius * (radius + 0.5) || r !== limit(r, 0) || c !== limit(c, 1);
        if (outside) continue;
        const twin = [r, c].map((value, axis) => (2 * (sides[axis] >> 1) - value + sides[axis]) % sides[axis]);
        painted[r * width + c] = painted[twin[0] * width + twin[1]] = at("erase").checked ? 0 : 1;
      }
    }
  };
  const stroke = (event) => {
    const next = place(event).map((share, axis) => limit(Math.floor(share * sides[axis]), axis));
    const from = last ?? next;
    const steps = Math.max(1, ...next.map((value, axis) => Math.abs(value - from[axis])));
    for (let i = 1; i <= steps; i++) dab(...from.map((value, axis) => Math.round(value + ((next[axis] - value) * i) / steps)));
    last = next;
    draw();
    change({ map: "", mask: encode() });
  };
  at("plane").onpointerdown = (event) => {
    at("plane").setPointerCapture(event.pointerId);
    last = null;
    keep(), stroke(event);
  };
  at("plane").onpointermove = (event) => event.buttons && stroke(event);
  at("plane").onkeydown = (event) => {
    move(event, cursor, (moved) => {
      cursor = moved.map(limit);
      if (event.key === " ") keep(), dab(...cursor), change({ map: "", mask: encode() });
      draw();
    });
  };
  for (const who of ["recipient", "donor"]) {
    at(`${who}-class`).onchange = (event) => choose(who, `${event.target.value}.0`);
    at(`${who}-nth`).onchange = (event) => choose(who, `${at(`${who}-class`).value}.${Number(event.target.value)}`);
    at(`${who}-file`).onchange = (event) => drop(who, event.target.files[0]);
    at(who).ondragover = (event) => event.preventDefault();
    at(who).ondrop = (event) => (event.preventDefault(), drop(who, event.dataTransfer.files[0]));
  }
  at("operation").onchange = (event) => (keep(), change({ operation: event.target.value }));
  at("amplitude").oninput = (event) => change({ amplitude: event.target.value });
  at("brush").oninput = controls;
  at("map").onchange = (event) => (keep(), change({ mask: encode(), map: event.target.value }));
  at("share").oninput = (event) => change({ share: Number((10 ** event.target.value).toPrecision(3)) });
  at("clear").onclick = () => (keep(), decode(""), change({ map: "", mask: "" }));
  at("undo").onclick = () => {
    const { mask, map, share, operation } = undo.pop();
    decode(mask), change({ mask, map, share, operation });
  };
  at("attribute").onclick = async () => {
    at("result").textContent = "Asking which frequencies decided …";
    const { mask } = await ask("attribute", request());
    keep(), decode(mask), change({ mask, map: "", operation: "keep" });
  };
  at("python").onclick = async () => {
    Object.assign(at("lines"), { value: (await ask("python", request())).lines, hidden: false }).select();
    document.execCommand("copy");
  };
  at("figure").onclick = save;

  const begin = async () => {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) if (name in state) state[name] = value;
    decode(state.mask);
    follow();
    await Promise.all([open("recipient"), open("donor")]);
  };
  addEventListener("hashchange", begin);
  begin();
})();

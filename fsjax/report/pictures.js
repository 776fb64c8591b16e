"use strict";
// Pictures as numbers: read, painted, split into channels, filtered.
const pictures = (() => {
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

  // Paints a canvas whose pixel i has the colour at(i), [red, green, blue] or with opacity.
  const paint = (canvas, width, height, at) => {
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) image.data.set([...at(i), 255].slice(0, 4), 4 * i);
    context.putImageData(image, 0, 0);
  };

  // Splits a strip of pictures into their channels, [picture][channel], in [0, 1].
  const channels = ({ data, width, height }, count = 1) => {
    const wide = width / count;
    const value = (n, c) => (_, i) => data[4 * (Math.floor(i / wide) * width + n * wide + (i % wide)) + c] / 255;
    const channel = (n, c) => Float64Array.from({ length: wide * height }, value(n, c));
    return Array.from({ length: count }, (_, n) => ({ width: wide, height, values: [0, 1, 2].map((c) => channel(n, c)) }));
  };

  // Keeps frequencies of one channel, a sum of waves: (u, v) down and across, in cycles per picture, where kept(u, v).
  const filter = (values, { width, height }, kept) => {
    const turn = (length) => ["cos", "sin"].map((f) => Float64Array.from({ length }, (_, i) => Math[f]((2 * Math.PI * i) / length)));
    const [[cosAcross, sinAcross], [cosDown, sinDown]] = [turn(width), turn(height)];
    const sum = new Float64Array(values.length);
    for (let v = 0; v <= width >> 1; v++) {
      const rows = Array.from({ length: height }, (_, i) => i - (height >> 1)).filter((u) => kept(u, v));
      if (!rows.length) continue;
      const [real, imaginary, re, im] = Array.from({ length: 4 }, () => new Float64Array(height));
      for (let i = 0, y = 0; y < height; y++) {
        for (let x = 0, at = 0; x < width; x++, i++, at = (at + v) % width) {
          real[y] += values[i] * cosAcross[at];
          imaginary[y] -= values[i] * sinAcross[at];
        }
      }
      for (const u of rows) {
        const at = (y) => (((u * y) % height) + height) % height;
        let [a, b] = [0, 0];
        for (let y = 0; y < height; y++) {
          a += real[y] * cosDown[at(y)] + imaginary[y] * sinDown[at(y)];
          b += imaginary[y] * cosDown[at(y)] - real[y] * sinDown[at(y)];
        }
        for (let y = 0; y < height; y++) {
          re[y] += a * cosDown[at(y)] - b * sinDown[at(y)];
          im[y] += a * sinDown[at(y)] + b * cosDown[at(y)];
        }
      }
      // A frequency and its conjugate add the same, but for their own conjugates.
      const weight = (v && 2 * v !== width ? 2 : 1) / values.length;
      for (let i = 0, y = 0; y < height; y++) {
        for (let x = 0, at = 0; x < width; x++, i++, at = (at + v) % width) {
          sum[i] += weight * (re[y] * cosAcross[at] - im[y] * sinAcross[at]);
        }
      }
    }
    return sum;
  };

  // Draws pictures, [picture][channel] in [0, 1], side by side.
  const drawPictures = (canvas, pictures) => {
    const { width, height } = pictures[0];
    [canvas.width, canvas.height] = [width * pictures.length, height];
    pictures.forEach(({ values }, n) => {
      const image = new ImageData(width, height);
      image.data.forEach((_, i) => (image.data[i] = i % 4 === 3 ? 255 : 255 * values[i % 4][i >> 2]));
      canvas.getContext("2d").putImageData(image, n * width, 0);
    });
  };

  return { pixelsOf, paint, channels, filter, drawPictures };
})();

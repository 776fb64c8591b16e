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

  // Where a pointer is on its element, down and across, in [0, 1].
  const place = ({ currentTarget, clientX, clientY }) => {
    const box = currentTarget.getBoundingClientRect();
    return [(clientY - box.top) / box.height, (clientX - box.left) / box.width];
  };

  // Hands the place that an arrow key, or a space, leads to from [row, column] to `then`.
  const move = (event, cursor, then) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], " ": [0, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    then(cursor.map((value, axis) => value + step[axis]));
  };

  // Splits a strip into its pictures, with values in [0, 1]: three for each pixel.
  const split = ({ data, width, height }, count = 1) => {
    const wide = width / count;
    const value = (i, n) => data[4 * (Math.floor(i / 3 / wide) * width + n * wide + (Math.floor(i / 3) % wide)) + (i % 3)] / 255;
    const values = (n) => Float64Array.from({ length: 3 * wide * height }, (_, i) => value(i, n));
    return Array.from({ length: count }, (_, n) => ({ width: wide, height, values: values(n) }));
  };

  // Keeps frequencies of a picture, a sum of waves: (u, v) down and across, in cycles per picture, where kept(u, v).
  const filter = ({ width, height, values }, kept) => {
    const turn = (length) => ["cos", "sin"].map((f) => Float64Array.from({ length }, (_, i) => Math[f]((2 * Math.PI * i) / length)));
    const [[cosAcross, sinAcross], [cosDown, sinDown], sum] = [turn(width), turn(height), new Float64Array(values.length)];
    for (let v = 0; v <= width >> 1; v++) {
      const rows = Array.from({ length: height }, (_, i) => i - (height >> 1)).filter((u) => kept(u, v));
      // A frequency and its conjugate add the same, but for their own conjugates.
      const weight = (v && 2 * v !== width ? 2 : 1) / (width * height);
      for (let c = 0; rows.length && c < 3; c++) {
        const [real, imaginary, re, im] = Array.from({ length: 4 }, () => new Float64Array(height));
        for (let i = c, y = 0; y < height; y++) {
          for (let x = 0, at = 0; x < width; x++, i += 3, at = (at + v) % width) {
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
        for (let i = c, y = 0; y < height; y++) {
          for (let x = 0, at = 0; x < width; x++, i += 3, at = (at + v) % width) {
            sum[i] += weight * (re[y] * cosAcross[at] - im[y] * sinAcross[at]);
          }
        }
      }
    }
    return { width, height, values: sum };
  };

  // Changes a picture's values: change(value, index).
  const map = (picture, change) => ({ ...picture, values: picture.values.map(change) });

  // Draws pictures side by side.
  const drawPictures = (canvas, pictures) => {
    const { width, height } = pictures[0];
    [canvas.width, canvas.height] = [width * pictures.length, height];
    pictures.forEach(({ values }, n) => {
      const image = new ImageData(width, height);
      image.data.forEach((_, i) => (image.data[i] = i % 4 === 3 ? 255 : 255 * values[3 * (i >> 2) + (i % 4)]));
      canvas.getContext("2d").putImageData(image, n * width, 0);
    });
  };

  return { pixelsOf, paint, place, move, split, filter, map, drawPictures };
})();

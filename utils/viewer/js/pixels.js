// From JPEG to screen: each image is decoded once, to one byte a pixel; a lookup table of the
// display window turns bytes into greys.

const makeCanvas = (width, height) =>
  Object.assign(document.createElement("canvas"), { width, height });

async function decode(jpeg, [width, height]) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  const context = makeCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
  return grey;
}

// Greys 0 to 255, through the window [low, high] (fractions of the series' range), to the screen's
// RGBA words.
function lookupTable([low, high], inverted) {
  return Uint32Array.from({ length: 256 }, (_, v) => {
    const grey = Math.round(255 * clamp((v / 255 - low) / (high - low), 0, 1));
    return 0xff000000 | ((inverted ? 255 - grey : grey) * 0x010101);
  });
}

// Writes a slice's pixels to a canvas of the slice's size.
function paintSlice(canvas, slice, window, inverted) {
  const table = lookupTable(window, inverted);
  const image = new ImageData(...slice.size);
  const words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < words.length; i++) words[i] = table[slice.grey[i]];
  canvas.width = slice.size[0];
  canvas.height = slice.size[1];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// From JPEG to screen: each image is decoded once, to one byte a pixel; a lookup table of the
// display window turns bytes into greys.

const makeCanvas = (width, height) =>
  Object.assign(document.createElement("canvas"), { width, height });

// {grey, isNoisy}: the greys of a JPEG, and whether the browser has changed them.
async function decode(jpeg, size) {
  const isNoisy = !canReadCanvas();
  const exact = isNoisy ? await decodeWithoutCanvas(jpeg, size).catch(() => null) : null;
  if (exact) return { grey: exact, isNoisy: false };
  return { grey: await decodeByCanvas(jpeg, size), isNoisy };
}

async function decodeByCanvas(jpeg, [width, height]) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  const context = makeCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height); // a plain loop: three times as fast as from()
  for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
  return grey;
}

// Whether a canvas reads back as what was drawn. Protection against fingerprinting adds noise,
// which is the same for the same image, so that reading twice shows nothing.
function canReadCanvas() {
  const context = makeCanvas(64, 64).getContext("2d", { willReadFrequently: true });
  const drawn = new ImageData(64, 64);
  for (let i = 0; i < drawn.data.length; i++) drawn.data[i] = i % 4 === 3 ? 255 : (i * 7) % 251;
  context.putImageData(drawn, 0, 0);
  const { data } = context.getImageData(0, 0, 64, 64);
  return data.every((v, i) => v === drawn.data[i]);
}

// By WebCodecs, whose frames are no canvases. The first plane of a JPEG's frame is its brightness.
async function decodeWithoutCanvas(jpeg, [width, height]) {
  const decoder = new ImageDecoder({ data: jpeg, type: "image/jpeg" });
  const { image } = await decoder.decode();
  const bytes = new Uint8Array(image.allocationSize());
  const [{ offset, stride }] = await image.copyTo(bytes);
  const step = image.format.startsWith("I4") || image.format === "NV12" ? 1 : 4;
  const at = (i) => offset + Math.floor(i / width) * stride + (i % width) * step;
  image.close();
  decoder.close();
  return Uint8Array.from({ length: width * height }, (_, i) => bytes[at(i)]);
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

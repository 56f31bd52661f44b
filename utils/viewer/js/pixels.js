// Pixels: each JPEG is decoded once, to one byte a pixel; a window turns bytes into greys.

const surface = (width, height) => Object.assign(document.createElement("canvas"), { width, height });

async function decode(jpeg, [width, height]) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  const context = surface(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height);
  for (let i = 0; i < grey.length; i++) grey[i] = data[4 * i];
  return grey;
}

// Grey 0..255 through the window [low, high] (fractions of the stored range) to the screen's RGBA words.
function lookup([low, high], inverted) {
  return Uint32Array.from({ length: 256 }, (_, v) => {
    const grey = Math.round(255 * clamp((v / 255 - low) / (high - low), 0, 1));
    return 0xff000000 | ((inverted ? 255 - grey : grey) * 0x010101);
  });
}

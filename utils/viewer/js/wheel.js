// Whose the wheel is. A movement of the wheel belongs to where it began, until it rests: a page
// that is being scrolled is not stopped by a pane that comes under the pointer, and a pane whose
// slices are at their end does not throw the page on.

const WHEEL_REST_MS = 200; // chosen by hand: so long without an event, and the wheel has rested

class Wheel {
  constructor() {
    Object.assign(this, { last: -Infinity, isNew: false, owner: null });
    this.note = this.note.bind(this);
    addEventListener("wheel", this.note, { capture: true, passive: true });
  }

  // Comes before any pane's own listener.
  note({ timeStamp }) {
    this.isNew = timeStamp - this.last > WHEEL_REST_MS;
    this.last = timeStamp;
    if (this.isNew) this.owner = null; // the page, unless a pane wants it
  }

  // Whether the event is the pane's. It takes a new movement if it has a use for it; what began in
  // another pane stays there.
  isFor(pane, isUseful) {
    if (this.isNew && isUseful) this.owner = pane;
    return this.owner === pane;
  }

  get isAPanes() {
    return this.owner !== null;
  }

  close() {
    removeEventListener("wheel", this.note, { capture: true });
  }
}

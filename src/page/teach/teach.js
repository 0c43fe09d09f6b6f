// The screen Teach: draws crop, mask and regions on the picture with a finger, and follows a lesson. What is drawn
// stands in the fields of the form, and what is typed there is drawn: without this script the fields do alone.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  // A finger covers about this many pixels of the screen.
  const FINGER_PX = 22;
  // A rectangle that is smaller was a tap.
  const LEAST_PX = 4;
  // The picture is looked at anew so often, unless somebody draws.
  const PICTURE_MS = 3000;
  // Time until a line that is not there is asked again.
  const RETRY_MS = 1000;

  function element(name, values) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    return made;
  }

  function rectangleOf(from, to) {
    const [x, y] = [Math.min(from[0], to[0]), Math.min(from[1], to[1])];
    return [x, y, Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])];
  }

  const numbers = (text) => text.split(",").map((side) => Math.round(Number(side)));
  const isRectangle = (sides) => sides.length === 4 && sides.every((side) => side >= 0);

  function outlineOf(line) {
    const corners = line.trim().split(/\s+/).filter(Boolean).map((corner) => corner.split(",").map(Number));
    const isOne = corners.length > 2 && corners.every((corner) => corner.length === 2 && corner.every(Number.isFinite));
    return isOne ? corners : null;
  }

  function draw(svg, form) {
    const { width, height } = svg.viewBox.baseVal;
    const drawn = document.getElementById("drawn");
    const hint = document.getElementById("hint");
    const field = (name) => form.elements.namedItem(name);
    let tool = "crop";
    let crop = null;
    let outlines = [];
    let regions = [];
    // Corners of an outline that is not closed yet.
    let open = [];
    let drag = null;

    function read() {
      const sides = ["x", "y", "w", "h"].map((name) => field(name).value.trim());
      const typed = sides.map((side) => (side === "" ? NaN : Math.round(Number(side))));
      crop = isRectangle(typed) ? typed : null;
      outlines = field("mask").value.split("\n").map(outlineOf).filter(Boolean);
      regions = field("regions").value.split("\n").map((line) => {
        const [head, ...rest] = line.split("|");
        const place = head.trim().lastIndexOf(" ");
        const area = numbers(head.trim().slice(place + 1));
        return place > 0 && isRectangle(area) ? { name: head.trim().slice(0, place), area, rest } : null;
      }).filter(Boolean);
    }

    function write() {
      ["x", "y", "w", "h"].forEach((name, i) => { field(name).value = crop ? crop[i] : ""; });
      const text = (outline) => outline.map((corner) => corner.join(",")).join(" ");
      field("mask").value = outlines.map(text).join("\n");
      field("regions").value = regions
        .map(({ name, area, rest }) => [`${name} ${area.join(",")}`, ...rest.map((one) => one.trim())].join(" | ")).join("\n");
    }

    // Pixels of the picture under a finger.
    const finger = () => FINGER_PX * width / Math.max(1, svg.clientWidth);

    function handle(x, y, what) {
      const group = element("g", { class: "handle" });
      group.append(element("circle", { class: "touch", cx: x, cy: y, r: finger() }));
      group.append(element("circle", { class: "dot", cx: x, cy: y, r: finger() / 2.5 }));
      group.what = what;
      drawn.append(group);
    }

    function show() {
      drawn.replaceChildren();
      const areas = crop ? [{ name: "crop", area: crop }] : regions;
      for (const one of areas) {
        const [x, y, w, h] = one.area;
        drawn.append(element("rect", { class: "area", x, y, width: w, height: h }));
        const label = element("text", { class: "area-name", x, y, dx: finger() / 3, dy: finger(), "font-size": finger() });
        label.textContent = one.name;
        drawn.append(label);
        [[x, y], [x + w, y], [x, y + h], [x + w, y + h]].forEach(([cx, cy], corner) => {
          handle(cx, cy, { area: one.area, opposite: [corner % 2 ? x : x + w, corner < 2 ? y + h : y] });
        });
      }
      const points = (outline) => outline.map((corner) => corner.join(",")).join(" ");
      for (const outline of outlines) {
        drawn.append(element("polygon", { class: "outline", points: points(outline) }));
        if (tool === "mask") outline.forEach((corner) => handle(corner[0], corner[1], { corner }));
      }
      if (open.length) {
        drawn.append(element("polyline", { class: "outline open", points: points(open) }));
        handle(open[0][0], open[0][1], { closes: true });
      }
      showLeast(areas.length ? areas : [{ name: "the whole picture", area: [0, 0, width, height] }]);
    }

    // The same arithmetic as the server's: half a cell of the map.
    function showLeast(areas) {
      const { columns, rows, kept, square, tile } = svg.dataset;
      const perMm = Number(document.getElementById("px-per-mm").value.replace(",", "."));
      const table = document.getElementById("least");
      table.replaceChildren(...areas.map(({ name, area: [, , w, h] }) => {
        const shorter = Math.min(w, h);
        let cell = [w / columns, h / rows];
        if (square === "true") cell = [shorter / columns, shorter / rows];
        if (kept) cell = [Math.sqrt(w * h / kept), Math.sqrt(w * h / kept)];
        if (tile) cell = [Math.min(shorter, tile) / columns, Math.min(shorter, tile) / rows];
        const [x, y] = cell.map((side) => Math.ceil(side / 2));
        const decimal = (number) => number.toFixed(2).replace(".", document.body.dataset.decimal || ".");
        const mm = perMm > 0 ? `about ${decimal(x / perMm)} x ${decimal(y / perMm)} mm, ` : "";
        const row = document.createElement("tr");
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = name;
        const words = document.createElement("td");
        words.textContent = `${mm}${x} x ${y} pixels`;
        row.append(head, words);
        return row;
      }));
    }

    function place(event) {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const inside = (value, limit) => Math.round(Math.min(Math.max(value, 0), limit));
      return [inside(point.x, width), inside(point.y, height)];
    }

    function changed() {
      write();
      show();
    }

    function begin(event) {
      const at = place(event);
      const what = event.target.closest?.(".handle")?.what;
      event.preventDefault();
      svg.setPointerCapture(event.pointerId);
      if (what?.closes) {
        if (open.length > 2) {
          outlines.push(open);
          open = [];
          changed();
        }
        return;
      }
      if (what?.corner) {
        drag = { corner: what.corner };
      } else if (what?.area) {
        drag = { area: what.area, from: what.opposite };
      } else if (tool === "mask") {
        open.push(at);
        hint.textContent = "Tap the corners of the outline, and the first one again at the end.";
        show();
      } else {
        drag = { area: [at[0], at[1], 0, 0], from: at, isNew: true };
      }
    }

    function move(event) {
      if (!drag) return;
      const at = place(event);
      if (drag.corner) {
        [drag.corner[0], drag.corner[1]] = at;
      } else {
        if (drag.isNew && tool === "crop") {
          crop = drag.area;
          regions = [];
        } else if (drag.isNew && !regions.some(({ area }) => area === drag.area)) {
          crop = null;
          outlines = [];
          regions.push({ name: `part${regions.length + 1}`, area: drag.area, rest: [] });
        }
        rectangleOf(drag.from, at).forEach((side, i) => { drag.area[i] = side; });
      }
      changed();
    }

    function end() {
      if (!drag) return;
      drag = null;
      const isSeen = (area) => area[2] >= LEAST_PX && area[3] >= LEAST_PX;
      if (crop && !isSeen(crop)) crop = null;
      regions = regions.filter(({ area }) => isSeen(area));
      changed();
    }

    function press(button) {
      if (button.dataset.tool === "clear") {
        [crop, outlines, regions, open] = [null, [], [], []];
      } else if (button.dataset.tool === "undo") {
        if (open.length) open.pop();
        else if (tool === "mask") outlines.pop();
        else if (tool === "region") regions.pop();
        else crop = null;
      } else {
        tool = button.dataset.tool;
        open = [];
        document.querySelectorAll(".tools [aria-pressed]").forEach((other) => {
          other.setAttribute("aria-pressed", other === button);
        });
      }
      changed();
    }

    svg.addEventListener("pointerdown", begin);
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerup", end);
    svg.addEventListener("pointercancel", end);
    form.addEventListener("input", () => { read(); show(); });
    form.addEventListener("submit", () => {
      field("px_per_mm").value = document.getElementById("px-per-mm").value;
    });
    document.getElementById("px-per-mm").addEventListener("input", show);
    const tools = document.querySelector(".tools");
    tools.hidden = false;
    tools.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) press(button);
    });
    svg.classList.add("live");
    read();
    show();
  }

  // The picture of now, unless the camera's view is being drawn on.
  function refresh(svg) {
    const image = svg.querySelector("image");
    const address = image.getAttribute("href");
    setInterval(() => {
      if (!document.hidden) image.setAttribute("href", `${address}?at=${Date.now()}`);
    }, PICTURE_MS);
  }

  const isUnderWay = (step) => step === "seeing" || step === "comparing";

  async function follow(lesson) {
    let { version, step } = lesson.dataset;
    for (;;) {
      try {
        const recipe = encodeURIComponent(lesson.dataset.recipe);
        const answer = await fetch(`/teach/lesson?recipe=${recipe}&since=${version}`, { cache: "no-store" });
        if (!answer.ok) throw new Error(answer.status);
        const update = await answer.json();
        if (isUnderWay(step) && !isUnderWay(update.step)) {
          // Figures all over the screen have changed.
          location.reload();
          return;
        }
        if (update.version !== version) lesson.innerHTML = update.html;
        ({ version, step } = update);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  const svg = document.getElementById("picture");
  const form = document.getElementById("view");
  if (svg) refresh(svg);
  if (svg && form) draw(svg, form);
  const lesson = document.getElementById("lesson");
  if (lesson) follow(lesson);
})();

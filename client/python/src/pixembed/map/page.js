"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const count = data.ids.length;
  const places = Float64Array.from(data.places, (place) => place / data.steps);
  const isDuplicate = flags(data.duplicates);
  const isOutlier = flags(data.outliers);
  const canvas = document.getElementById("canvas");
  const context = canvas.getContext("2d");
  const tip = document.getElementById("tip");
  const mode = document.getElementById("mode");
  const chosen = document.getElementById("chosen");
  const found = document.getElementById("found");
  const FOUND_LISTED = 50;
  const CELLS = 256; // of the grid that finds the point under the pointer, along each axis
  const REACH = 10; // pixels
  const RADIUS = count > 20000 ? 1.5 : count > 2000 ? 2.5 : 4.5;
  const MARGIN = 24;

  // What is in the middle of the canvas, and how many pixels the width of the map takes.
  const view = { x: 0.5, y: 0.5, scale: 1 };
  // Of the canvas, in CSS pixels.
  const size = { width: 0, height: 0 };
  let all = true; // is shown: it stays so when the canvas changes its size
  let chosenRow = -1;
  let onlyCluster = -1;
  let foundRows = [];
  let drawing = 0;
  // What is drawn, in this order: [kind, rows].
  let groups = [];

  function flags(rows) {
    const flag = new Uint8Array(data.ids.length);
    for (const row of rows) flag[row] = 1;
    return flag;
  }

  // ---- The grid: the rows of a cell are rows[starts[cell]] up to rows[starts[cell + 1]]. ----

  const grid = { starts: new Uint32Array(CELLS * CELLS + 1), rows: new Uint32Array(count) };

  const cellOf = (place) => Math.max(0, Math.min(CELLS - 1, Math.floor(place * CELLS)));

  function fillGrid() {
    const cells = new Uint32Array(count);
    for (let row = 0; row < count; row++) {
      cells[row] = cellOf(places[2 * row + 1]) * CELLS + cellOf(places[2 * row]);
      grid.starts[cells[row] + 1]++;
    }
    for (let cell = 0; cell < CELLS * CELLS; cell++) grid.starts[cell + 1] += grid.starts[cell];
    const next = grid.starts.slice();
    for (let row = 0; row < count; row++) grid.rows[next[cells[row]]++] = row;
  }

  // The row nearest to a place of the canvas, or -1.
  function rowAt(left, top) {
    const x = (left - size.width / 2) / view.scale + view.x;
    const y = (top - size.height / 2) / view.scale + view.y;
    const reach = REACH / view.scale;
    let nearest = -1;
    let least = reach * reach;
    for (let line = cellOf(y - reach); line <= cellOf(y + reach); line++) {
      const first = grid.starts[line * CELLS + cellOf(x - reach)];
      const end = grid.starts[line * CELLS + cellOf(x + reach) + 1];
      for (let i = first; i < end; i++) {
        const row = grid.rows[i];
        const distance = (places[2 * row] - x) ** 2 + (places[2 * row + 1] - y) ** 2;
        if (distance <= least && isShown(row)) {
          least = distance;
          nearest = row;
        }
      }
    }
    return nearest;
  }

  // ---- Drawing ----

  const isShown = (row) => onlyCluster < 0 || data.clusters[row] === onlyCluster;
  const isAgainst = (row) => row >= data.files[0].rows;

  // The class of a row's swatch, which is the name of its colour too.
  function kindOf(row) {
    if (mode.value === "file") return isAgainst(row) ? "against" : "file";
    if (mode.value === "cluster") return `colour-${data.clusters[row] % data.colours}`;
    return isOutlier[row] ? "outlier" : isDuplicate[row] ? "duplicate" : "plain";
  }

  function group() {
    // In rounds, so that no file and no cluster lies on top of all others.
    const rounds = Array.from({ length: mode.value === "findings" ? 1 : 16 }, () => new Map());
    for (let row = 0; row < count; row++) {
      if (!isShown(row)) continue;
      const kind = kindOf(row);
      const byKind = rounds[(Math.imul(row, 0x9e3779b1) >>> 16) % rounds.length];
      if (!byKind.has(kind)) byKind.set(kind, []);
      byKind.get(kind).push(row);
    }
    // Rare kinds last, so that the others do not hide them.
    groups = rounds.flatMap((byKind) =>
      [...byKind].sort((one, other) => other[1].length - one[1].length),
    );
    redraw();
  }

  function draw() {
    drawing = 0;
    const colours = getComputedStyle(document.documentElement);
    const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(size.width * ratio);
    const height = Math.round(size.height * ratio);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size.width, size.height);
    context.globalAlpha = count > 5000 ? 0.75 : 1;
    for (const [kind, rows] of groups) drawPoints(rows, kind === "duplicate", colour(kind));
    context.globalAlpha = 1;
    ring(data.outliers, RADIUS + 3, 1.5, colour("outlier"));
    ring(foundRows, RADIUS + 5, 1.5, colour("mark"));
    if (chosenRow >= 0) ring([chosenRow], RADIUS + 6, 3, colour("strong"));
  }

  const leftOf = (row) => (places[2 * row] - view.x) * view.scale + size.width / 2;
  const topOf = (row) => (places[2 * row + 1] - view.y) * view.scale + size.height / 2;
  const isOutside = (left, top) =>
    left < -MARGIN || left > size.width + MARGIN || top < -MARGIN || top > size.height + MARGIN;

  function drawPoints(rows, square, colour) {
    context.fillStyle = colour;
    for (const row of rows) {
      const left = leftOf(row);
      const top = topOf(row);
      if (isOutside(left, top)) continue;
      if (square || count > 5000) {
        context.fillRect(left - RADIUS, top - RADIUS, 2 * RADIUS, 2 * RADIUS);
        continue;
      }
      context.beginPath();
      context.arc(left, top, RADIUS, 0, 2 * Math.PI);
      context.fill();
    }
  }

  function ring(rows, radius, width, colour) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    for (const row of rows) {
      const left = leftOf(row);
      const top = topOf(row);
      if (!isShown(row) || isOutside(left, top)) continue;
      context.beginPath();
      context.arc(left, top, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function redraw() {
    if (!drawing) drawing = requestAnimationFrame(draw);
  }

  const wholeScale = () => Math.max(50, Math.min(size.width, size.height) - 2 * MARGIN);

  function showAll() {
    all = true;
    Object.assign(view, { x: 0.5, y: 0.5, scale: wholeScale() });
    redraw();
  }

  function resize() {
    Object.assign(size, { width: canvas.clientWidth, height: canvas.clientHeight });
    if (all) showAll();
    redraw();
  }

  // What is at `left`, `top` stays there.
  function zoom(factor, left = size.width / 2, top = size.height / 2) {
    all = false;
    const scale = Math.max(wholeScale() / 4, Math.min(wholeScale() * 5000, view.scale * factor));
    view.x += (left - size.width / 2) * (1 / view.scale - 1 / scale);
    view.y += (top - size.height / 2) * (1 / view.scale - 1 / scale);
    view.scale = scale;
    redraw();
  }

  function move(right, down) {
    all = false;
    view.x = Math.max(-0.5, Math.min(1.5, view.x + right / view.scale));
    view.y = Math.max(-0.5, Math.min(1.5, view.y + down / view.scale));
    redraw();
  }

  // ---- What a row is ----

  function picture(row) {
    const source = data.thumbnails[row];
    if (!source) return [];
    const image = document.createElement("img");
    image.src = source;
    image.alt = "";
    return [image];
  }

  function nameOf(row) {
    const name = document.createElement("bdi");
    name.textContent = data.ids[row];
    return name;
  }

  function describe(row) {
    const facts = [`cluster ${data.clusters[row]}`];
    if (data.files.length > 1) facts.unshift(isAgainst(row) ? "against" : "file");
    if (isOutlier[row]) facts.push("outlier");
    if (isDuplicate[row]) facts.push("near-duplicate");
    const line = document.createElement("div");
    line.className = "note";
    line.textContent = facts.join(", ");
    return [...picture(row), nameOf(row), line];
  }

  function choose(row) {
    chosenRow = row;
    chosen.hidden = row < 0;
    chosen.replaceChildren(...(row < 0 ? [] : describe(row)));
    redraw();
  }

  function goTo(row) {
    all = false;
    if (!isShown(row)) setCluster(-1);
    Object.assign(view, {
      x: places[2 * row],
      y: places[2 * row + 1],
      scale: Math.max(view.scale, 4 * wholeScale()),
    });
    choose(row);
  }

  function showTip(event) {
    const bounds = canvas.getBoundingClientRect();
    const left = event.clientX - bounds.left;
    const top = event.clientY - bounds.top;
    const row = rowAt(left, top);
    tip.hidden = row < 0;
    if (row < 0) return;
    tip.replaceChildren(...describe(row));
    const right = Math.max(0, Math.min(left + 14, size.width - tip.offsetWidth));
    const below = top + 14 + tip.offsetHeight > size.height;
    const down = Math.max(0, below ? top - 14 - tip.offsetHeight : top + 14);
    tip.style.transform = `translate(${right}px, ${down}px)`;
  }

  // ---- Lists ----

  function button(row) {
    const element = document.createElement("button");
    element.type = "button";
    element.className = "row";
    element.dataset.row = row;
    element.append(...picture(row), nameOf(row));
    return element;
  }

  function search(text) {
    const wanted = text.trim().toLowerCase();
    foundRows = [];
    if (wanted) {
      for (let row = 0; row < count; row++) {
        if (data.ids[row].toLowerCase().includes(wanted)) foundRows.push(row);
      }
    }
    found.hidden = !wanted;
    const more = foundRows.length > FOUND_LISTED ? `; the first ${FOUND_LISTED} are listed` : "";
    document.getElementById("found-count").textContent =
      `${foundRows.length} of ${count} images${more}`;
    found.querySelector("ul").replaceChildren(
      ...foundRows.slice(0, FOUND_LISTED).map((row) => {
        const item = document.createElement("li");
        item.append(button(row));
        return item;
      }),
    );
    redraw();
  }

  function setCluster(cluster) {
    onlyCluster = cluster;
    for (const element of document.querySelectorAll("button.cluster")) {
      element.setAttribute("aria-pressed", String(Number(element.dataset.cluster) === cluster));
    }
    group();
  }

  function showLegend() {
    const texts = {
      file: [
        ["file", `file: ${data.files[0].name}`],
        ["against", `against: ${(data.files[1] || data.files[0]).name}`],
      ],
      findings: [
        ["plain", "image"],
        ["duplicate", "near-duplicate"],
      ],
      cluster: [...new Set(data.clusters)]
        .sort((one, other) => one - other)
        .map((cluster) => [`colour-${cluster % data.colours}`, `cluster ${cluster}`]),
    }[mode.value];
    const outlier = [mode.value === "findings" ? "outlier" : "outlier hollow", "outlier"];
    document.getElementById("legend").replaceChildren(
      ...[...texts, outlier].map(([kind, text]) => {
        const item = document.createElement("li");
        const swatch = document.createElement("span");
        swatch.className = `swatch ${kind}`;
        item.append(swatch, text);
        return item;
      }),
    );
    group();
  }

  // ---- What people do ----

  let pressed = null; // where the pointer went down, and whether it has moved since

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pressed = { x: event.clientX, y: event.clientY, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!pressed) {
      showTip(event);
      return;
    }
    const right = pressed.x - event.clientX;
    const down = pressed.y - event.clientY;
    if (!pressed.moved && Math.hypot(right, down) < 4) return;
    canvas.classList.add("dragged");
    tip.hidden = true;
    move(right, down);
    pressed = { x: event.clientX, y: event.clientY, moved: true };
  });
  canvas.addEventListener("pointerup", (event) => {
    if (pressed && !pressed.moved) {
      const bounds = canvas.getBoundingClientRect();
      choose(rowAt(event.clientX - bounds.left, event.clientY - bounds.top));
    }
    pressed = null;
    canvas.classList.remove("dragged");
  });
  canvas.addEventListener("pointercancel", () => {
    pressed = null;
    canvas.classList.remove("dragged");
  });
  canvas.addEventListener("pointerleave", () => {
    tip.hidden = true;
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const bounds = canvas.getBoundingClientRect();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
      const factor = Math.exp(-Math.max(-400, Math.min(400, event.deltaY * lines)) / 400);
      zoom(factor, event.clientX - bounds.left, event.clientY - bounds.top);
      showTip(event);
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    const actions = {
      ArrowLeft: () => move(-60, 0),
      ArrowRight: () => move(60, 0),
      ArrowUp: () => move(0, -60),
      ArrowDown: () => move(0, 60),
      "+": () => zoom(1.5),
      "=": () => zoom(1.5),
      "-": () => zoom(1 / 1.5),
      0: showAll,
      Escape: () => choose(-1),
    };
    if (!Object.hasOwn(actions, event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    tip.hidden = true;
    actions[event.key]();
  });
  document.addEventListener("click", (event) => {
    const element = event.target.closest("button[data-row], button[data-cluster]");
    if (!element) return;
    if ("row" in element.dataset) {
      goTo(Number(element.dataset.row));
      return;
    }
    const cluster = Number(element.dataset.cluster);
    setCluster(cluster === onlyCluster ? -1 : cluster);
  });
  document.getElementById("zoom-in").addEventListener("click", () => zoom(1.5));
  document.getElementById("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  document.getElementById("whole").addEventListener("click", showAll);
  const searchField = document.getElementById("search");
  searchField.addEventListener("input", () => search(searchField.value));
  searchField.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && foundRows.length) {
      goTo(foundRows[(foundRows.indexOf(chosenRow) + 1) % foundRows.length]);
    }
  });
  mode.addEventListener("change", showLegend);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(resize).observe(canvas);

  // ---- The beginning ----

  fillGrid();
  for (const element of document.querySelectorAll("aside button[data-row]")) {
    element.prepend(...picture(Number(element.dataset.row)));
  }
  showLegend();
  resize();
})();

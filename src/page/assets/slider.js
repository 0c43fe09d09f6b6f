// Fades the map over the original picture of a part. Without this script both stand side by side.
"use strict";
(() => {
  const stack = document.getElementById("stack");
  const heat = document.getElementById("heat");
  const slide = document.getElementById("slide");
  if (!stack || !heat || !slide) return;

  const range = slide.querySelector("input");
  function fade() {
    heat.style.opacity = range.value / 100;
  }

  stack.hidden = false;
  slide.hidden = false;
  range.addEventListener("input", fade);
  fade();
})();

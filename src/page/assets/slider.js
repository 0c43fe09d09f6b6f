// Fades the map over the original picture of a part, in the place of the wide picture where both stand side by side.
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

  // The slider shows what the wide picture shows side by side.
  const whole = document.querySelector(".whole");
  if (whole) whole.hidden = true;
  stack.hidden = false;
  slide.hidden = false;
  range.addEventListener("input", fade);
  fade();
})();

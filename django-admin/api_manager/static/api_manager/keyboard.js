// The theme puts click handlers on spans and on links without an address. This makes buttons of them, for the keyboard and
// for screen readers, and keeps the names of icons, which are words in a font, from being read out.
"use strict";

const NAMES = { close: "Close the menu", dock_to_right: "Menu", more_horiz: "More", search: "Search" };
const NATIVE = "a[href], button, input, select, textarea, summary, label";

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[x-on\\:click]").forEach((element) => {
    if (element.matches(NATIVE) || !element.textContent.trim()) return;
    element.setAttribute("role", "button");
    element.tabIndex = 0;
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      element.click();
    });
  });

  document.querySelectorAll(".material-symbols-outlined").forEach((icon) => {
    const control = icon.closest("a, button, [role=button]");
    const word = icon.textContent.trim();
    if (control && control.textContent.trim() === word && !control.hasAttribute("aria-label")) {
      control.setAttribute("aria-label", control.title || NAMES[word] || word.replaceAll("_", " "));
    }
    if (icon !== control) icon.setAttribute("aria-hidden", "true");
  });
});

// Django makes these when the page is loaded, with a name but without a role that may have one.
window.addEventListener("load", () => {
  document.querySelectorAll(".help-tooltip[aria-label]").forEach((icon) => icon.setAttribute("role", "img"));
});

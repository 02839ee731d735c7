// Copies the text of the element that a button names in data-copy.
"use strict";

document.querySelectorAll("button[data-copy]").forEach((button) => {
  button.addEventListener("click", async () => {
    const source = document.querySelector(button.dataset.copy);
    getSelection().selectAllChildren(source);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // Browsers give the clipboard to secure origins only; the text is selected, so a key press copies it.
      button.textContent = "Press Ctrl+C";
    }
  });
});

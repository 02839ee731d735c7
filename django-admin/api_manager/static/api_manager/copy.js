// Copies the text of the element that a button names in data-copy, and says so: on the button, and in the status
// beside it, which screen readers read out.
"use strict";

document.querySelectorAll("button[data-copy]").forEach((button) => {
  const status = document.querySelector(button.dataset.copyStatus);
  button.addEventListener("click", async () => {
    const source = document.querySelector(button.dataset.copy);
    getSelection().selectAllChildren(source);
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // Browsers give the clipboard to secure origins only; the text is selected, so a key press copies it.
      said = "Press Ctrl+C";
    }
    button.textContent = said;
    status.textContent = said;
  });
});

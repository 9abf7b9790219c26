/* The console's only script of its own: the dialog, the time zone, polling that disturbs nobody, and menus. */
(() => {
  "use strict";

  const dialog = document.getElementById("dialog");
  const toasts = document.getElementById("toasts");
  const polls = (element) => (element?.getAttribute("hx-trigger") ?? "").includes("every");

  // The browser's time zone, for whoever has not chosen one in the settings.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.split("; ").includes(`time_zone=${zone}`)) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `time_zone=${zone}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  }

  // The dialog opens when htmx fills it and empties when it closes.
  let opener = null;
  let asked = false;
  const chosen = (select) => {
    const before = [...select.options].findIndex((option) => option.defaultSelected);
    return select.selectedIndex !== (select.multiple ? before : Math.max(0, before)); // without a default it is the first
  };
  const typed = () =>
    [
      ...dialog.querySelectorAll("textarea, input:not([type=hidden], [type=checkbox], [type=radio], [type=search]), select"),
    ].some((field) => (field.options ? chosen(field) : field.value !== field.defaultValue));
  const mayClose = () => {
    if (asked || !typed()) return true;
    asked = true;
    const note = document.createElement("p");
    note.className = "dialog__unsaved";
    note.setAttribute("role", "alert");
    note.textContent = "You have typed something that is not sent. Do that once more to discard it.";
    dialog.append(note);
    return false;
  };

  if (dialog) {
    document.addEventListener("htmx:afterSwap", ({ detail }) => {
      if (detail.target !== dialog) return;
      asked = false;
      if (!dialog.textContent.trim()) return dialog.close();
      if (!dialog.open) {
        opener = document.activeElement;
        dialog.showModal();
      }
      const first =
        dialog.querySelector("[aria-invalid=true]") ??
        dialog.querySelector("[autofocus], textarea, input:not([type=hidden])") ??
        dialog.querySelector("button, a[href]");
      first?.focus();
    });
    dialog.addEventListener("cancel", (event) => {
      if (event.target === dialog && !mayClose()) event.preventDefault();
    });
    dialog.addEventListener("input", () => {
      asked = false;
      dialog.querySelector(".dialog__unsaved")?.remove();
    });
    dialog.addEventListener("pointerdown", (event) => {
      if (event.target !== dialog) return;
      const box = dialog.getBoundingClientRect();
      const isInside =
        event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
      if (!isInside && mayClose()) dialog.close();
    });
    dialog.addEventListener("close", () => {
      if (dialog.contains(toasts)) document.body.append(toasts);
      dialog.replaceChildren();
      const back = opener?.isConnected ? opener : opener?.id && document.getElementById(opener.id);
      (back || document.getElementById("main"))?.focus({ preventScroll: true });
      opener = null;
    });
  }

  // Polling asks nothing while nobody looks, changes nothing that is the same, and leaves the focus where it was.
  const seen = new Map();
  let kept = null;
  let keptIn = null;
  const likeness = (element) =>
    element.id ? `#${element.id}` : [element.tagName, element.name, element.getAttribute("href"), element.textContent.trim()].join("|");

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (polls(event.target) && document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    const { target, xhr, requestConfig } = detail;
    if (polls(requestConfig?.elt) && detail.shouldSwap) {
      const before = seen.get(target.id);
      seen.set(target.id, xhr.responseText);
      if (before === xhr.responseText) {
        detail.shouldSwap = false;
        return;
      }
    }
    const focused = document.activeElement;
    kept = focused && focused !== document.body && target?.contains(focused) && target !== dialog ? likeness(focused) : null;
    keptIn = target?.id;
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (!kept || document.activeElement !== document.body) return;
    const root = (keptIn && document.getElementById(keptIn)) || document;
    const again = [...root.querySelectorAll("a, button, summary, input, select, textarea, [tabindex]")].find((one) => likeness(one) === kept);
    again?.focus({ preventScroll: true });
    kept = null;
  });

  // A request that failed says so, in the words of the page it answered with.
  const toast = (text) => {
    if (!toasts) return;
    (dialog?.open ? dialog : document.body).append(toasts); // what is under an open dialog cannot be seen or reached
    if ([...toasts.children].some((one) => one.textContent.includes(text))) return;
    const note = document.createElement("div");
    note.className = "notice notice--error";
    const words = document.createElement("p");
    words.className = "notice__text";
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "notice__close";
    close.setAttribute("aria-label", "Dismiss");
    close.textContent = "✕";
    close.addEventListener("click", () => note.remove());
    note.append(words, close);
    toasts.append(note);
  };
  document.addEventListener("htmx:responseError", ({ detail }) => {
    const page = new DOMParser().parseFromString(detail.xhr.responseText, "text/html");
    const words = page.querySelector(".problem__message")?.textContent.trim();
    toast(words || `The console could not do that (${detail.xhr.status}).`);
  });
  document.addEventListener("htmx:sendError", ({ detail }) => {
    toast("The console does not answer. What you see may be out of date.");
    seen.delete(detail.target?.id);
  });
  document.addEventListener("htmx:afterOnLoad", ({ detail }) => {
    if (polls(detail.requestConfig?.elt)) {
      for (const note of toasts?.children ?? []) if (note.textContent.startsWith("The console does not answer")) note.remove();
    }
  });

  // Menus close like menus; a refused action's reason can be dismissed and stays within the window.
  const closeMenus = (except) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (menu !== except) menu.open = false;
  };
  document.addEventListener("click", (event) => {
    closeMenus(event.target.closest("details.menu"));
    if (event.target.closest("[aria-disabled=true]")) event.preventDefault();
  });
  document.addEventListener("focusin", (event) => closeMenus(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = event.target.closest?.("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    for (const action of document.querySelectorAll(".action:is(:hover, :focus-within)")) action.dataset.dismissed = "";
  });
  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const action = event.target.closest?.(".action");
      const why = action?.querySelector(".action__why");
      if (!why) return;
      if (!action.contains(event.relatedTarget)) delete action.dataset.dismissed;
      action.classList.remove("action--end");
      if (why.getBoundingClientRect().right > document.documentElement.clientWidth - 8) action.classList.add("action--end");
    });
  }

  // Where the tabs do not fit, the current one is in sight.
  for (const tab of document.querySelectorAll(".tabs > [aria-current], .submenu > [aria-current]")) {
    const row = tab.parentElement;
    row.scrollLeft += tab.getBoundingClientRect().right - row.getBoundingClientRect().right;
  }

  // Forms are sent once.
  document.addEventListener("submit", (event) => {
    const { target: form, submitter } = event;
    if (form.method === "dialog" || form.hasAttribute("hx-post")) return;
    if (form.ariaBusy === "true") return event.preventDefault();
    form.ariaBusy = "true";
    submitter?.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", () => {
    for (const busy of document.querySelectorAll("form[aria-busy], button[aria-busy]")) busy.removeAttribute("aria-busy");
  });

  // "4 min ago" stays true while the page is open.
  const relative = (instant) => {
    const seconds = (Date.now() - instant) / 1000;
    const size = Math.abs(seconds);
    if (size < 60) return "just now";
    const text =
      size < 3600 ? `${Math.floor(size / 60)} min` : size < 129600 ? `${Math.floor(size / 3600)} h` : `${Math.floor(size / 86400)} days`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  };
  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-relative]")) {
      const text = relative(Date.parse(time.dateTime));
      if (time.textContent !== text) time.textContent = text;
    }
  }, 20000);
})();

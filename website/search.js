// A page that was opened from a file may start no worker; the search then runs in a frame.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.body.appendChild(document.createElement("iframe"));
      const inside = frame.contentWindow, script = inside.document.createElement("script"), waiting = [];
      frame.hidden = true;
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      this.postMessage = data => waiting.push(data);
      script.onload = () => {
        this.postMessage = data => inside.dispatchEvent(new MessageEvent("message", { data }));
        waiting.forEach(data => this.postMessage(data));
      };
      script.src = url;
      inside.document.body.append(script);
    }
  };

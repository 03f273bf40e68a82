// Search runs in a worker. A page that is opened as a file gets none, so that a frame takes its place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const early = [];
      this.send = message => early.push(message);
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "Search";
      document.body.append(frame);
      const inside = frame.contentWindow;
      inside.importScripts = () => {};
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = inside.document.createElement("script");
      script.src = address;
      script.onload = () => {
        this.send = data => inside.dispatchEvent(new MessageEvent("message", { data }));
        early.forEach(this.send);
      };
      inside.document.body.append(script);
    }
    postMessage(message) { this.send(message); }
  };
}

/* A page that was opened from the disk may start no worker: there the search runs in a hidden frame instead. */
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.onmessage = null;
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.documentElement.appendChild(this.frame);
      this.inside = this.frame.contentWindow;
      this.inside.postMessage = (data) => setTimeout(() => this.onmessage?.({ data }), 0);
      const script = this.frame.contentDocument.createElement("script");
      script.src = url;
      script.onload = () => this.waiting.splice(0).forEach((data) => this.postMessage(data));
      this.frame.contentDocument.body.appendChild(script);
    }

    postMessage(data) {
      if (!this.inside.onmessage) {
        this.waiting.push(data); // the script is still being loaded
      } else {
        setTimeout(() => this.inside.onmessage({ data }), 0);
      }
    }

    terminate() {
      this.frame.remove();
    }
  };
}

// The log-in is a plain form; with a script one may also see what one types.

const token = document.getElementById("token");
const reveal = document.getElementById("reveal");

reveal.hidden = false;
reveal.addEventListener("click", () => {
  const isShown = token.type === "text";
  token.type = isShown ? "password" : "text";
  reveal.setAttribute("aria-pressed", String(!isShown));
  token.focus();
});
// Browsers are to keep it as a password, not among the words that were typed.
token.form.addEventListener("submit", () => { token.type = "password"; });

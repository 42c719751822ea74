// The pages that links in mails open. Nothing is done before a button is pressed: programs that look into mails follow links.
"use strict";

const french = navigator.language.startsWith("fr");
const say = (inFrench, inEnglish) => (french ? inFrench : inEnglish);
const token = new URLSearchParams(location.search).get("token") ?? "";

const password = (label, autocomplete) => ({ name: "password", type: "password", label, autocomplete });
const pages = {
  "verify-email": {
    title: say("Confirmer votre adresse", "Confirm your address"),
    fields: [],
    button: say("Confirmer", "Confirm"),
    done: say("Merci, votre adresse est confirmée.", "Thank you, your address is confirmed."),
    act: () => post("auth/email/verify", { token }),
  },
  "reset-password": {
    title: say("Nouveau mot de passe", "New password"),
    fields: [password(say("De 8 à 72 octets", "8 to 72 bytes"), "new-password")],
    button: say("Enregistrer", "Save"),
    done: say("Votre mot de passe est changé.", "Your password is changed."),
    act: (form) => post("auth/password/reset", { token, password: form.password }),
  },
  invitation: {
    title: say("Accepter l'invitation", "Accept the invitation"),
    fields: [
      { name: "email", type: "email", label: say("Votre adresse", "Your address"), autocomplete: "username" },
      password(say("Votre mot de passe", "Your password"), "current-password"),
    ],
    button: say("Se connecter et accepter", "Sign in and accept"),
    done: say("Bienvenue.", "Welcome."),
    act: async (form) => {
      const tokens = await post("auth/login", { email: form.email, password: form.password });
      await post("invitations/accept", { token }, tokens.access_token);
    },
  },
};

async function post(path, body, bearer) {
  const headers = { "Content-Type": "application/json" };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const response = await fetch(`api/v1/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = response.status === 204 ? {} : await response.json();
  if (!response.ok) throw new Error(words(response.status, answer.error));
  return answer;
}

// A refusal in the reader's language, as far as readers meet them.
function words(status, error) {
  if (status === 401) return say("Adresse ou mot de passe inexacts.", "Wrong address or password.");
  if (error?.details?.field === "token") return say("Ce lien ne fonctionne plus.", "This link does not work any more.");
  if (error?.details?.field === "password") return say("Il faut de 8 à 72 octets.", "It must have 8 to 72 bytes.");
  return error?.message ?? say("Réessayez plus tard.", "Try again later.");
}

const page = pages[location.pathname.split("/").pop()];
const [heading, form, told] = ["h1", "form", "p"].map((name) => document.querySelector(name));
document.documentElement.lang = french ? "fr" : "en";
document.title = heading.textContent = page.title;
for (const field of page.fields) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { name: field.name, type: field.type, autocomplete: field.autocomplete, required: true });
  label.append(field.label, input);
  form.append(label);
}
const button = document.createElement("button");
button.textContent = page.button;
form.append(button);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  told.textContent = "";
  try {
    await page.act(Object.fromEntries(new FormData(form)));
    form.hidden = true;
    told.textContent = page.done;
  } catch (error) {
    told.textContent = error.message;
    button.disabled = false;
  }
});

"""What the driver reads: every decision and notice, in four languages, short enough for two lines of sixteen.

Wordings and the choice between them belong here, and whose words are shown: ours or the peer's. What a display
can show of a text is `glyphs`' business.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import product

from agent.core.glyphs import can_show, fit, fits
from agent.model import REFUSALS, Decision, Outcome, Reason, Source, Verdict

LANGUAGES = ("en", "de", "nl", "fr")
"""The driver's languages that we speak, ISO 639-1."""


class Notice(StrEnum):
    """What stands on the display while there is no decision to show."""

    IDLE = "idle"
    ASKING = "asking"
    CHARGING = "charging"
    OUT_OF_ORDER = "out-of-order"
    STOPPED_LATE = "stopped-late"
    """A refusal came after the fallback had accepted, and the policy is to stop."""


_Wordings = dict[str, tuple[str, ...]]
"""By language, the fullest wording first: the first that the display has room for is shown. `|` ends a line."""


def _say(en: str, de: str, nl: str, fr: str) -> _Wordings:
    return {language: tuple(text.split(" / ")) for language, text in zip(LANGUAGES, (en, de, nl, fr), strict=True)}


def _join(cause: _Wordings, end: _Wordings) -> _Wordings:
    """Why, and then what follows from it, in every combination of full and short."""
    return {language: tuple("|".join(both) for both in product(cause[language], end[language])) for language in cause}


_PLUG_IN = _say(
    en="Card accepted|Please plug in / Card accepted",
    de="Karte akzeptiert|Bitte einstecken / Karte akzeptiert",
    nl="Pas geaccepteerd|Sluit de kabel aan / Pas geaccepteerd|Sluit kabel aan / Pas geaccepteerd",
    fr="Carte acceptée|Branchez le câble / Carte acceptée|Branchez-vous / Carte acceptée",
)
_NOT_CHECKED = _say(
    en="Card can't be checked|Please try again / Can't check card",
    de="Karte nicht prüfbar|Bitte nochmals versuchen / Karte nicht prüfbar / Nicht prüfbar",
    nl="Pascontrole mislukt|Probeer het opnieuw / Pascontrole mislukt / Controle mislukt",
    fr="Carte non vérifiable|Veuillez réessayer / Carte non vérifiable / Non vérifiable",
)
_CALL = _say(
    en="Please call the operator / Please call",
    de="Bitte den Betreiber anrufen / Bitte anrufen",
    nl="Bel de beheerder",
    fr="Appelez l'exploitant / Appelez-nous",
)

_UNREACHABLE = _say(
    en="Backend unreachable / No connection",
    de="Server nicht erreichbar / Keine Verbindung",
    nl="Server onbereikbaar / Geen verbinding",
    fr="Serveur injoignable / Hors connexion",
)
_NO_ANSWER = _say(
    en="No answer from backend / No answer",
    de="Keine Antwort vom Server / Keine Antwort",
    nl="Geen antwoord van server / Geen antwoord",
    fr="Pas de réponse du serveur / Pas de réponse",
)
_BACKEND_FAULT = _say(en="Backend fault", de="Serverfehler", nl="Serverfout", fr="Erreur du serveur / Erreur serveur")
_SET_UP_FAULT = _say(
    en="Set-up fault",
    de="Konfigurationsfehler / Setup-Fehler",
    nl="Configuratiefout",
    fr="Erreur de configuration / Config. erronée",
)
_UNCHECKED = _say(
    en="Card not checked",
    de="Karte ungeprüft / Ungeprüft",
    nl="Ongecontroleerd",
    fr="Carte non vérifiée / Non vérifiée",
)
_OUT_OF_ORDER = _join(_say(en="Out of order", de="Außer Betrieb", nl="Buiten gebruik", fr="Hors service"), _CALL)
_STOPPED = _say(en="Charging stopped", de="Laden beendet", nl="Laden gestopt", fr="Charge terminée")

_NOTICES: dict[Notice, _Wordings] = {
    Notice.IDLE: _say(
        en="Please hold your card to the reader / Hold your card to the reader",
        de="Bitte Karte an den Leser halten",
        nl="Houd uw pas voor de lezer",
        fr="Présentez votre carte au lecteur",
    ),
    Notice.ASKING: _say(
        en="One moment…|Checking your card / One moment…",
        de="Einen Moment…|Karte wird geprüft / Einen Moment…",
        nl="Een ogenblik…|Pas wordt gecontroleerd / Een ogenblik…",
        fr="Un instant…|Vérification en cours / Un instant…",
    ),
    Notice.CHARGING: _say(
        en="Charging|Hold your card to the reader to stop / Charging|Tap card to stop",
        de="Laden läuft|Zum Beenden Karte an den Leser halten / Laden läuft|Stopp mit Karte",
        nl="Aan het laden|Houd uw pas voor de lezer om te stoppen / Aan het laden|Stop met uw pas",
        fr="Charge en cours|Présentez votre carte pour arrêter / Charge en cours|Arrêt par carte",
    ),
    Notice.OUT_OF_ORDER: _OUT_OF_ORDER,
    Notice.STOPPED_LATE: _join(
        _STOPPED, _say(en="Card refused", de="Karte abgelehnt", nl="Pas geweigerd", fr="Carte refusée")
    ),
}

_ACCEPTED: dict[Reason, _Wordings] = {
    **dict.fromkeys((Reason.ALLOWED, Reason.WHITELISTED), _PLUG_IN),
    **dict.fromkeys((Reason.UNREACHABLE, Reason.BREAKER_OPEN), _join(_UNREACHABLE, _PLUG_IN)),
    Reason.TIMEOUT: _join(_NO_ANSWER, _PLUG_IN),
    **dict.fromkeys((Reason.SERVER_ERROR, Reason.OCPI_ERROR, Reason.RATE_LIMITED), _join(_BACKEND_FAULT, _PLUG_IN)),
    **dict.fromkeys((Reason.MALFORMED, Reason.OVERSIZED), _join(_BACKEND_FAULT, _PLUG_IN)),
    **dict.fromkeys((Reason.REJECTED, Reason.UNAUTHORIZED), _join(_SET_UP_FAULT, _PLUG_IN)),
    Reason.NO_PEER: _join(_UNCHECKED, _PLUG_IN),
}
_REFUSED: dict[Reason, _Wordings] = {
    Reason.BLOCKED: _say(en="Card blocked", de="Karte gesperrt", nl="Pas geblokkeerd", fr="Carte bloquée"),
    Reason.EXPIRED: _say(en="Card expired", de="Karte abgelaufen", nl="Pas verlopen", fr="Carte expirée"),
    Reason.NO_CREDIT: _say(en="No credit", de="Kein Guthaben", nl="Geen tegoed", fr="Crédit épuisé"),
    Reason.NOT_ALLOWED: _say(
        en="Not allowed at this location",
        de="Karte hier nicht zugelassen",
        nl="Niet toegestaan op deze locatie",
        fr="Carte non admise sur ce site",
    ),
    Reason.OTHER_EVSE: _say(
        en="Please use another charging point / Use another charge point",
        de="Bitte anderen Ladepunkt nutzen",
        nl="Gebruik een ander laadpunt",
        fr="Utilisez une autre borne",
    ),
    Reason.UNKNOWN: _say(en="Card not known", de="Karte unbekannt", nl="Pas onbekend", fr="Carte inconnue"),
    Reason.NOT_LISTED: _say(
        en="Card not known here", de="Karte hier nicht bekannt", nl="Pas hier niet bekend", fr="Carte inconnue ici"
    ),
    Reason.INVALID: _say(en="Card not valid", de="Karte ungültig", nl="Pas ongeldig", fr="Carte non valable"),
    **dict.fromkeys((Reason.UNREACHABLE, Reason.BREAKER_OPEN), _join(_UNREACHABLE, _NOT_CHECKED)),
    Reason.TIMEOUT: _join(_NO_ANSWER, _NOT_CHECKED),
    **dict.fromkeys((Reason.SERVER_ERROR, Reason.OCPI_ERROR, Reason.RATE_LIMITED), _join(_BACKEND_FAULT, _NOT_CHECKED)),
    **dict.fromkeys((Reason.MALFORMED, Reason.OVERSIZED), _join(_BACKEND_FAULT, _NOT_CHECKED)),
    **dict.fromkeys((Reason.REJECTED, Reason.UNAUTHORIZED), _join(_SET_UP_FAULT, _CALL)),
    Reason.NO_PEER: _say(
        en="This card can't be checked here",
        de="Karte hier nicht prüfbar",
        nl="Pas hier niet te controleren",
        fr="Carte non vérifiable ici",
    ),
}
_EITHER_WAY: dict[Reason, _Wordings] = {
    **dict.fromkeys((Reason.STOPPED_SAME_CARD, Reason.STOPPED_GROUP_CARD), _STOPPED),
    Reason.IN_USE: _say(
        en="In use by another card",
        de="Belegt durch andere Karte",
        nl="In gebruik door andere pas",
        fr="Occupée par une autre carte",
    ),
    **dict.fromkeys((Reason.STORAGE_FAULT, Reason.RELAY_FAULT, Reason.AGENT_FAULT), _OUT_OF_ORDER),
    Reason.TOO_LATE: _say(
        en="That took too long|Please try again / Please try again",
        de="Das dauerte zu lange|Bitte nochmals versuchen / Bitte nochmals versuchen",
        nl="Dat duurde te lang|Probeer het opnieuw / Probeer het opnieuw",
        fr="Délai dépassé|Veuillez réessayer / Délai dépassé|Réessayez",
    ),
}
"""What the EVSE itself came to, and what the driver must know whoever had accepted the card."""

_OTHERWISE = {
    Verdict.ACCEPTED: _PLUG_IN,
    Verdict.REFUSED: _say(
        en="Card not accepted", de="Karte nicht akzeptiert", nl="Pas niet geaccepteerd", fr="Carte refusée"
    ),
}
"""For a reason that says nothing about such a verdict, as "invalid" with a policy that accepts it all the same."""

_PEERS_WORDS = {(Verdict.ACCEPTED, Reason.ALLOWED)} | {
    (Verdict.REFUSED, Reason(refusal)) for refusal in REFUSALS - {Outcome.OTHER_EVSE}
}
"""Where the peer's own text says what the driver gets. To a card for another EVSE the peer has said "welcome"."""


def text_for(decision: Decision, *, language: str, columns: int, rows: int, charset: str) -> tuple[str, ...]:
    """Say the decision in the driver's words, in lines that fit the display; `language` is for cards without one.

    The peer's text goes first where the peer decided and the display can show it, whatever its language: OCPI 2.2.1
    mod_tokens, AuthorizationInfo.info. Otherwise the words are ours, in the token's language if we speak it.
    """
    peers = _peers_words(decision)
    if can_show(peers, charset):
        return fit(peers, columns, rows, charset)
    ours = _wordings(decision)[_spoken(language, decision.token.language if decision.token else None)]
    return _lay_out(ours, columns, rows, charset)


def notice(which: Notice, *, language: str, columns: int, rows: int, charset: str) -> tuple[str, ...]:
    """Say what stands between decisions, in lines that fit the display, in English where we don't speak `language`."""
    return _lay_out(_NOTICES[which][_spoken(language)], columns, rows, charset)


def _spoken(default: str, drivers: str | None = None) -> str:
    """The driver's language, else the default, else English; `de-DE` and `DE` are German."""
    wanted = ((tag or "").strip().replace("_", "-").partition("-")[0].lower() for tag in (drivers, default))
    return next((language for language in wanted if language in LANGUAGES), "en")


def _peers_words(decision: Decision) -> str:
    decided = decision.source is Source.REALTIME and (decision.verdict, decision.reason) in _PEERS_WORDS
    return decision.info.text if decided and decision.info else ""


def _wordings(decision: Decision) -> _Wordings:
    by_verdict = _ACCEPTED if decision.verdict is Verdict.ACCEPTED else _REFUSED
    return _EITHER_WAY.get(decision.reason) or by_verdict.get(decision.reason) or _OTHERWISE[decision.verdict]


@lru_cache(maxsize=512)  # a display's shape never changes and our texts are few: a tap pays a look-up
def _lay_out(wordings: Sequence[str], columns: int, rows: int, charset: str) -> tuple[str, ...]:
    """Show the fullest wording that there is room for, one clause a line where there are lines; cut if need be."""
    in_one_go = [wording.replace("|", " - ") for wording in wordings]
    for wording in in_one_go if rows == 1 else wordings:
        clauses = wording.split("|")
        lines = tuple(line for clause in clauses for line in fit(clause, columns, rows, charset))
        if len(lines) <= rows and all(fits(clause, columns, rows, charset) for clause in clauses):
            return lines
    return fit(in_one_go[-1], columns, rows, charset)

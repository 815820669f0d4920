"""What the driver reads: every decision and text, in four languages, short enough for two lines of sixteen.

Wordings and the choice between them belong here, and whose words are shown: ours or the peer's. When a text is shown
is the machine's business (`evse_effects`), what a display can show of it is `glyphs`'.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from agent.core.evse_effects import Text
from agent.core.glyphs import can_show, fit, fits, lay_out
from agent.model import REFUSALS, Decision, Outcome, Reason, Source, Verdict

LANGUAGES = ("en", "de", "nl", "fr")
"""The driver's languages that we speak, ISO 639-1."""

_Wordings = dict[str, tuple[str, ...]]
"""By language, the fullest wording first: the first that the display has room for is shown. `|` ends a line."""


def _say(en: str, de: str, nl: str, fr: str) -> _Wordings:
    return {language: tuple(text.split(" / ")) for language, text in zip(LANGUAGES, (en, de, nl, fr), strict=True)}


def _join(cause: _Wordings, end: _Wordings) -> _Wordings:
    """Why, and then what follows from it, in every combination of full and short."""
    return {language: tuple("|".join(both) for both in product(cause[language], end[language])) for language in cause}


_ACCEPTED_PLUG_IN = _say(
    en="Card accepted|Please plug in / Card accepted",
    de="Karte akzeptiert|Bitte einstecken / Karte akzeptiert",
    nl="Pas geaccepteerd|Sluit de kabel aan / Pas geaccepteerd|Sluit kabel aan / Pas geaccepteerd",
    fr="Carte acceptée|Branchez le câble / Carte acceptée|Branchez-vous / Carte acceptée",
)
_ACCEPTED_CHARGING = _say(
    en="Card accepted|Charging / Card accepted",
    de="Karte akzeptiert|Laden läuft / Karte akzeptiert",
    nl="Pas geaccepteerd|Aan het laden / Pas geaccepteerd",
    fr="Carte acceptée|Charge en cours / Carte acceptée",
)
_NOT_ACCEPTED = _say(
    en="Card not accepted", de="Karte nicht akzeptiert", nl="Pas niet geaccepteerd", fr="Carte refusée"
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

_IN_USE = _say(
    en="In use by another card",
    de="Belegt durch andere Karte",
    nl="In gebruik door andere pas",
    fr="Occupée par une autre carte",
)
_TOO_LATE = _say(
    en="That took too long|Please try again / Please try again",
    de="Das dauerte zu lange|Bitte nochmals versuchen / Bitte nochmals versuchen",
    nl="Dat duurde te lang|Probeer het opnieuw / Probeer het opnieuw",
    fr="Délai dépassé|Veuillez réessayer / Délai dépassé|Réessayez",
)
_CARD_STOPS = _say(
    en="Hold your card to the reader to stop / Tap card to stop",
    de="Zum Beenden Karte an den Leser halten / Stopp mit Karte",
    nl="Houd uw pas voor de lezer om te stoppen / Stop met uw pas",
    fr="Présentez votre carte pour arrêter / Arrêt par carte",
)

_TEXTS: dict[Text, _Wordings] = {
    Text.IDLE: _say(
        en="Please hold your card to the reader / Hold your card to the reader",
        de="Bitte Karte an den Leser halten",
        nl="Houd uw pas voor de lezer",
        fr="Présentez votre carte au lecteur",
    ),
    Text.TAP_CARD: _say(
        en="Plugged in|Please hold your card to the reader / Plugged in|Please tap card",
        de="Eingesteckt|Bitte Karte an den Leser halten / Eingesteckt|Karte vorhalten",
        nl="Aangesloten|Houd uw pas voor de lezer / Aangesloten|Bied uw pas aan",
        fr="Câble branché|Présentez votre carte au lecteur / Câble branché|Passez la carte",
    ),
    Text.ASKING: _say(
        en="One moment…|Checking your card / One moment…",
        de="Einen Moment…|Karte wird geprüft / Einen Moment…",
        nl="Een ogenblik…|Pas wordt gecontroleerd / Een ogenblik…",
        fr="Un instant…|Vérification en cours / Un instant…",
    ),
    Text.REFUSED: _NOT_ACCEPTED,
    Text.NOT_RECORDED: _OUT_OF_ORDER,
    Text.TOO_LATE: _TOO_LATE,
    Text.PLUG_IN: _say(en="Please plug in", de="Bitte einstecken", nl="Sluit de kabel aan", fr="Branchez le câble"),
    Text.CHARGING: _join(_say(en="Charging", de="Laden läuft", nl="Aan het laden", fr="Charge en cours"), _CARD_STOPS),
    Text.CHARGING_WITHOUT_READER: _say(
        en="Charging|Card reader out of order|Unplug to stop / Charging|Unplug to stop",
        de="Laden läuft|Kartenleser defekt|Zum Beenden ausstecken / Laden läuft|Ende: Ausstecken",
        nl="Aan het laden|Paslezer defect|Koppel los om te stoppen / Aan het laden|Stop: koppel los",
        fr="Charge en cours|Lecteur hors service|Débranchez pour arrêter / Charge en cours|Fin : débrancher",
    ),
    Text.SUSPENDED: _join(
        _say(en="Charging paused", de="Laden pausiert", nl="Laden gepauzeerd", fr="Charge en pause"), _CARD_STOPS
    ),
    Text.IN_USE: _IN_USE,
    Text.CANCELLED: _say(en="Charging cancelled", de="Laden abgebrochen", nl="Laden geannuleerd", fr="Charge annulée"),
    Text.STOPPED: _STOPPED,
    Text.STOPPED_LATE: _join(
        _STOPPED, _say(en="Card refused", de="Karte abgelehnt", nl="Pas geweigerd", fr="Carte refusée")
    ),
    Text.STOPPED_BY_OPERATOR: _join(
        _STOPPED,
        _say(en="by the operator", de="vom Betreiber", nl="door de beheerder / door beheerder", fr="par l'exploitant"),
    ),
    Text.UNPLUGGED: _join(
        _STOPPED,
        _say(en="Cable unplugged", de="Kabel abgezogen", nl="Kabel losgekoppeld / Kabel los", fr="Câble débranché"),
    ),
    Text.UNPLUG: _join(
        _STOPPED,
        _say(
            en="Please unplug",
            de="Bitte ausstecken",
            nl="Koppel de kabel los / Koppel kabel los",
            fr="Débranchez le câble / Débranchez",
        ),
    ),
    Text.CONNECTION_TIMEOUT: _say(
        en="Cable not plugged in|Please hold your card to the reader again / Not plugged in|Tap card again",
        de="Nicht eingesteckt|Bitte Karte erneut an den Leser halten / Kein Kabel|Karte vorhalten",
        nl="Niet aangesloten|Houd uw pas opnieuw voor de lezer / Niet aangesloten|Bied uw pas aan",
        fr="Câble non branché|Présentez à nouveau votre carte / Pas de câble|Passez la carte",
    ),
    Text.OUT_OF_ORDER: _OUT_OF_ORDER,
    Text.RESTARTING: _say(
        en="Restarting|Please wait a moment / Restarting|Please wait",
        de="Neustart|Bitte einen Moment warten / Neustart|Bitte warten",
        nl="Herstart|Een ogenblik geduld / Herstart|Even geduld",
        fr="Redémarrage|Veuillez patienter / Redémarrage|Patientez svp",
    ),
    Text.RESUMED: _say(
        en="Power is back|Charging resumed",
        de="Strom wieder da|Laden läuft weiter / Strom wieder da|Laden läuft",
        nl="Stroom is terug|Laden gaat verder / Stroom is terug|Laden hervat",
        fr="Courant rétabli|La charge reprend / Courant rétabli|Charge reprise",
    ),
    Text.POWER_LOST: _join(
        _say(en="Power failure", de="Stromausfall", nl="Stroomstoring", fr="Panne de courant"), _STOPPED
    ),
}


def _accepted(end: _Wordings) -> dict[Reason, _Wordings]:
    """What an accepted card reads, by why it was accepted; `end` is what follows from it."""
    return {
        **dict.fromkeys((Reason.ALLOWED, Reason.WHITELISTED), end),
        **dict.fromkeys((Reason.UNREACHABLE, Reason.BREAKER_OPEN), _join(_UNREACHABLE, end)),
        Reason.TIMEOUT: _join(_NO_ANSWER, end),
        **dict.fromkeys((Reason.SERVER_ERROR, Reason.OCPI_ERROR, Reason.RATE_LIMITED), _join(_BACKEND_FAULT, end)),
        **dict.fromkeys((Reason.MALFORMED, Reason.OVERSIZED), _join(_BACKEND_FAULT, end)),
        **dict.fromkeys((Reason.REJECTED, Reason.UNAUTHORIZED), _join(_SET_UP_FAULT, end)),
        Reason.NO_PEER: _join(_UNCHECKED, end),
    }


_PLUG_IN = (_ACCEPTED_PLUG_IN, _accepted(_ACCEPTED_PLUG_IN))
_CHARGING = (_ACCEPTED_CHARGING, _accepted(_ACCEPTED_CHARGING))
_ACCEPTED: dict[Text | None, tuple[_Wordings, dict[Reason, _Wordings]]] = {
    None: _PLUG_IN,
    Text.PLUG_IN: _PLUG_IN,
    Text.CHARGING: _CHARGING,
    Text.CHARGING_WITHOUT_READER: _CHARGING,
}
"""By what follows from the card; first for a reason that says nothing about an accept, as "invalid" with a policy that
accepts it all the same. Whatever else follows goes before the card: "accepted" would be a lie."""

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
    Reason.RANDOM_UID: _say(
        en="Phones can't be used|Please use a card / Use a card,|not a phone",
        de="Handys gehen hier nicht|Bitte Karte verwenden / Handy geht nicht|Bitte mit Karte",
        nl="Telefoons werken hier niet|Gebruik een pas / Gebruik een pas, geen telefoon",
        fr="Téléphones non acceptés|Utilisez une carte / Pas de téléphone|Prenez une carte",
    ),
    Reason.TOO_MANY_REFUSED: _say(
        en="Too many cards refused|Please wait a moment / Too many cards|Please wait",
        de="Zu viele Karten abgelehnt|Bitte einen Moment warten / Zu viele Karten|Bitte warten",
        nl="Te veel passen geweigerd|Een ogenblik geduld / Te veel passen|Even geduld",
        fr="Trop de cartes refusées|Veuillez patienter / Trop de cartes|Patientez svp",
    ),
    Reason.INTERLOCKED: _say(
        en="The other socket is in use|Please wait / Other socket in use|Please wait / Other socket|is in use",
        de="Der andere Ladepunkt ist belegt|Bitte warten / Nachbar belegt|Bitte warten",
        nl="Het andere laadpunt is bezet|Even geduld / Buurpunt bezet|Even geduld",
        fr="L'autre prise est occupée|Veuillez patienter / Prise voisine|occupée",
    ),
}
_STOPS = frozenset({Reason.STOPPED_SAME_CARD, Reason.STOPPED_GROUP_CARD})
_EITHER_WAY: dict[Reason, _Wordings] = {
    Reason.IN_USE: _IN_USE,
    **dict.fromkeys((Reason.STORAGE_FAULT, Reason.RELAY_FAULT, Reason.AGENT_FAULT), _OUT_OF_ORDER),
    Reason.TOO_LATE: _TOO_LATE,
}
"""What the driver must know whoever had accepted the card."""

_PEERS_WORDS = {(Verdict.ACCEPTED, Reason.ALLOWED)} | {
    (Verdict.REFUSED, Reason(refusal)) for refusal in REFUSALS - {Outcome.OTHER_EVSE}
}
"""Where the peer's own text says what the driver gets. To a card for another EVSE the peer has said "welcome"."""


def text_for(
    decision: Decision,
    *,
    then: Text | None = None,
    language: str,
    columns: int,
    rows: int,
    charset: str,
    whole: bool = False,
) -> tuple[str, ...]:
    """Say the decision in the driver's words, in lines that fit the display; `language` is for cards without one.

    What has no room ends in an ellipsis; with `whole` there are more lines than `rows` then, for one that scrolls.

    `then` is what follows at the EVSE; None asks for the plug, as where nobody can see whether it is in.

    The peer's text goes first where the peer decided and the display can show it, whatever its language: OCPI 2.2.1
    mod_tokens, AuthorizationInfo.info. Otherwise the words are ours, in the token's language if we speak it.
    """
    peers = _peers_words(decision, then)
    if can_show(peers, charset):
        return lay_out(peers, columns, charset) if whole and rows > 0 else fit(peers, columns, rows, charset)
    ours = _wordings(decision, then)[_spoken(language, decision.token.language if decision.token else None)]
    return _lay_out(ours, columns, rows, charset, whole=whole)


def notice(
    which: Text,
    *,
    drivers: str | None = None,
    language: str,
    columns: int,
    rows: int,
    charset: str,
    whole: bool = False,
) -> tuple[str, ...]:
    """Say what is no decision, in lines that fit the display: in the driver's language, else `language`, or English.

    `whole` is as in `text_for`.
    """
    return _lay_out(_TEXTS[which][_spoken(language, drivers)], columns, rows, charset, whole=whole)


def _spoken(default: str, drivers: str | None = None) -> str:
    """The driver's language, else the default, else English; `de-DE` and `DE` are German."""
    wanted = ((tag or "").strip().replace("_", "-").partition("-")[0].lower() for tag in (drivers, default))
    return next((language for language in wanted if language in LANGUAGES), "en")


def _peers_words(decision: Decision, then: Text | None) -> str:
    decided = decision.source is Source.REALTIME and (decision.verdict, decision.reason) in _PEERS_WORDS
    came_of_it = decision.verdict is Verdict.REFUSED or then in _ACCEPTED
    return decision.info.text if decided and came_of_it and decision.info else ""


def _wordings(decision: Decision, then: Text | None) -> _Wordings:
    if decision.reason in _EITHER_WAY:
        return _EITHER_WAY[decision.reason]
    if decision.reason in _STOPS:
        return _TEXTS[then or Text.STOPPED]
    if decision.verdict is Verdict.REFUSED:
        return _REFUSED.get(decision.reason, _NOT_ACCEPTED)
    if then is None or then in _ACCEPTED:
        plain, by_reason = _ACCEPTED[then]
        return by_reason.get(decision.reason, plain)
    return _TEXTS[then]


@lru_cache(maxsize=512)  # a display's shape never changes and our texts are few: a tap pays a look-up
def _lay_out(wordings: Sequence[str], columns: int, rows: int, charset: str, *, whole: bool) -> tuple[str, ...]:
    """Show the fullest wording that there is room for, one clause a line where there are lines.

    Where there is room for none, the shortest: cut, or `whole` in more lines than `rows`.
    """
    in_one_go = [wording.replace("|", " - ") for wording in wordings]
    for wording in in_one_go if rows == 1 else wordings:
        clauses = wording.split("|")
        lines = tuple(line for clause in clauses for line in fit(clause, columns, rows, charset))
        if len(lines) <= rows and all(fits(clause, columns, rows, charset) for clause in clauses):
            return lines
    if whole and rows > 0:
        return tuple(line for clause in wordings[-1].split("|") for line in lay_out(clause, columns, charset))
    return fit(in_one_go[-1], columns, rows, charset)

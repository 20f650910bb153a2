"""
Tests for L{sipxha.registry.reginfo}: what a watcher reads.
"""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipxha.registry.binding import Binding
from sipxha.registry.reginfo import Contact, Event, contact_id, contacts_now, document
from tests.registry.rows import NOW, a_row

NS = "{urn:ietf:params:xml:ns:reginfo}"
GR = "{urn:ietf:params:xml:ns:gruuinfo}"

GOLDEN = """\
<?xml version="1.0" encoding="UTF-8"?>
<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo" version="7" state="full">
  <registration aor="sip:201@example.com" id="201@example.com" state="active">
    <contact id="201@example.com@@&lt;sip:201@10.1.1.7:5060&gt;;audio@@&lt;urn:uuid:1&gt;@@1" state="active" \
event="refreshed" callid="f00d@10.1.1.7" cseq="17" q="0.5" expires="3600">
      <uri>sip:201@10.1.1.7:5060</uri>
      <unknown-param name="audio"></unknown-param>
      <unknown-param name="+sip.instance">"&lt;urn:uuid:1&gt;"</unknown-param>
      <unknown-param name="reg-id">1</unknown-param>
      <unknown-param name="path">&lt;sip:token@10.1.1.50;lr;ob&gt;</unknown-param>
      <gr:pub-gruu uri="sip:201@example.com;gr=urn:uuid:1"/>
    </contact>
    <contact id="201@example.com@@&quot;Desk &amp;&quot; &lt;sip:201@10.1.1.8&gt;" state="terminated" \
event="expired" callid="f00d@10.1.1.7" cseq="17" q="1">
      <uri>sip:201@10.1.1.8</uri>
      <display-name>Desk &amp;</display-name>
    </contact>
  </registration>
</reginfo>
"""

FLOW = a_row(
    contact="<sip:201@10.1.1.7:5060>;audio",
    qvalue="0.5",
    instance_id="<urn:uuid:1>",
    reg_id=1,
    path="<sip:token@10.1.1.50;lr;ob>",
    gruu="201@example.com;gr=urn:uuid:1",
)


def told(*contacts: Contact) -> dict[str, Contact]:
    """
    Contacts by their ids.
    """
    return {contact_id(contact.row): contact for contact in contacts}


def events(before: dict[str, Contact], *current: Binding, now: float = NOW) -> list[str]:
    """
    What is told of each contact.
    """
    return [contact.event.value for contact in contacts_now(before, current, now)[0].values()]


class DocumentTests(SynchronousTestCase):
    """
    The text.
    """

    def test_a_document_says_all_that_a_row_knows(self) -> None:
        """
        RFC 3680 section 5.3, RFC 5628 section 7, and what sipX told.
        """
        ended = Contact(a_row(contact='"Desk &" <sip:201@10.1.1.8>'), Event.EXPIRED)
        contacts = told(Contact(FLOW, Event.REFRESHED), ended)
        self.assertEqual(document("201@example.com", 7, contacts, NOW), GOLDEN)

    def test_the_state_of_a_registration_is_that_of_its_contacts(self) -> None:
        """
        Figure 1: init without any, terminated when the last one is.
        """
        here, gone = Contact(a_row(), Event.REGISTERED), Contact(FLOW, Event.UNREGISTERED)
        for contacts, state in (((), "init"), ((here, gone), "active"), ((gone,), "terminated")):
            text = document("201@example.com", 0, told(*contacts), NOW)
            self.assertEqual(ElementTree.fromstring(text)[0].get("state"), state)

    @given(
        st.text(max_size=30),
        st.text(st.characters(codec=None, exclude_characters="\r\n"), max_size=30),
        st.text(max_size=30),
        st.integers(0, 2**31),
    )
    def test_whatever_a_phone_sent_the_document_is_well_formed(
        self, contact: str, callid: str, path: str, version: int
    ) -> None:
        """
        And says the same again where XML can say it at all.
        """
        row = a_row(contact=contact, callid=callid, path=path, gruu=path, instance_id=path)
        contacts = told(Contact(row, Event.REGISTERED))
        root = ElementTree.fromstring(document("201@example.com", version, contacts, NOW).encode())
        self.assertEqual((root.tag, root.get("version")), (f"{NS}reginfo", str(version)))
        (shown,) = root.findall(f"{NS}registration/{NS}contact")
        if callid.isprintable():
            self.assertEqual(shown.get("callid"), callid)
        if path.isprintable():
            params = {each.get("name"): each.text for each in shown.findall(f"{NS}unknown-param")}
            self.assertEqual(params.get("path") or "", path)
            self.assertEqual(
                [each.get("uri") for each in shown.findall(f"{GR}pub-gruu")], [f"sip:{path}"] * bool(path)
            )


class ContactTests(SynchronousTestCase):
    """
    What happened to a contact since a watcher was told.
    """

    def test_what_happened_is_told_by_name(self) -> None:
        """
        RFC 3680 section 4.7.1.
        """
        row = a_row()
        before = told(Contact(row, Event.REGISTERED))
        self.assertEqual(events({}, row), ["registered"])
        self.assertEqual(events(before, row), ["registered"])
        self.assertEqual(events(before, row._replace(cseq=18, expires=row.expires - 60)), ["refreshed"])
        self.assertEqual(events(before, row._replace(callid="other")), ["refreshed"])
        self.assertEqual(events(before, row._replace(expires=row.expires - 60)), ["shortened"])
        self.assertEqual(events(before), ["unregistered"])
        self.assertEqual(events(before, now=row.deadline), ["expired"])

    def test_who_ended_a_contact_is_told_where_that_is_known(self) -> None:
        """
        We did, and its phone had better register again; time did, whoever else
        wanted to.
        """
        row = a_row()
        before = told(Contact(row, Event.REGISTERED))
        name = contact_id(row)
        for ended, now, event in (
            ({name}, NOW, Event.DEACTIVATED),
            ({"other"}, NOW, Event.UNREGISTERED),
            ({name}, row.deadline, Event.EXPIRED),
        ):
            contacts, is_news = contacts_now(before, (), now, deactivated=ended)
            self.assertEqual((contacts[name].event, is_news), (event, True))
        contacts, is_news = contacts_now(before, [row], NOW, deactivated={name})
        self.assertEqual((contacts, is_news), (before, False))

    def test_for_how_long_a_contact_is_registered_is_told_where_that_is_known(self) -> None:
        """
        Through all refreshes, and at its end.
        """
        row = a_row()
        contacts, _ = contacts_now({}, [row], NOW, since=NOW)
        contacts, _ = contacts_now(contacts, [row._replace(cseq=18)], NOW + 10, since=NOW + 10)
        self.assertIn(' duration-registered="10"', document("201@example.com", 1, contacts, NOW + 10))
        contacts, _ = contacts_now(contacts, [], NOW + 20)
        self.assertIn(' duration-registered="20"', document("201@example.com", 2, contacts, NOW + 20))
        contacts, _ = contacts_now({}, [row], NOW)
        self.assertNotIn("duration-registered", document("201@example.com", 0, contacts, NOW))

    def test_what_no_watcher_can_see_is_no_news(self) -> None:
        """
        A new number, another primary, a later deadline by our own clock.
        """
        row = a_row()
        before = told(Contact(row, Event.REFRESHED))
        same = row._replace(update_number=9, primary="sipx2.example.com", deadline=row.deadline + 1)
        contacts, is_news = contacts_now(before, [same], NOW)
        self.assertEqual((contacts, is_news), (told(Contact(same, Event.REFRESHED)), False))

    def test_contacts_that_differ_have_different_ids(self) -> None:
        """
        Two flows with one contact are two; a new Call-ID makes no new contact.
        """
        other = FLOW._replace(reg_id=2)
        self.assertEqual(len(contacts_now({}, [FLOW, other, a_row(), a_row(contact="<sip:a>")], NOW)[0]), 4)
        self.assertEqual(contact_id(FLOW), contact_id(FLOW._replace(callid="other")))

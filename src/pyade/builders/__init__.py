"""From the domain to documents, and back.

``dep_profile`` is the JSON of Apple's service, ``mobileconfig`` the enrollment profile that a Mac installs
(made of ``payloads``, held to ``checks``), ``document`` the form that stores keep.
"""

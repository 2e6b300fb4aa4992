"""The JSON vocabulary that the API, the sockets and the files share."""

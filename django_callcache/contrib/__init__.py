"""One small file for each library that a site may have beside this one; none is imported unasked."""
